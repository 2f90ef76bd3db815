"""Tokens for load: private files, accounts nobody can log in to, only where that is allowed."""

import stat
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

from orders.models import Sale
from seckill.models import Campaign
from shop.catalog.models import Category, Product
from shop.site.load_accounts import access_tokens, load_accounts_ensure

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    category = Category.objects.add_root({"name_zh": "甲", "name_en": "A", "slug": "a"})
    product = Product.objects.create(slug="p", category=category, name_zh="甲", name_en="A", price=1)
    sale = Sale.objects.create(product=product, price=1, allotment=1)
    now = timezone.now()
    return Campaign.objects.create(
        sale=sale,
        name_zh="甲",
        name_en="A",
        salt=b"s" * 16,
        starts_at=now,
        ends_at=now + timedelta(hours=1),
        published_at=now,
    )


def claims_of(token) -> dict[str, Any]:
    """Verify a token as the API does and return its claims."""
    return AccessToken(token).payload


def mint(campaign_id, path, count=3, **options):
    call_command("load_tokens", campaign=campaign_id, count=count, out=path, **options)


def test_accounts_are_made_once_and_kept_in_order():
    first = load_accounts_ensure(3)
    users = get_user_model().objects.order_by("pk")
    assert [(user.username, user.email, user.language) for user in users] == [
        (f"load-00000{number}", f"load-00000{number}@load.invalid", "zh-hans") for number in (1, 2, 3)
    ]
    assert not any(user.has_usable_password() for user in users)
    users[1].delete()
    again = load_accounts_ensure(4)
    assert (again[0], again[2]) == (first[0], first[2])
    assert users.all().count() == 4
    assert [users.all().get(pk=pk).username[-1] for pk in again] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("count", [0, -1, 1_000_000])
def test_a_senseless_count_is_refused(count):
    with pytest.raises(ValueError, match="load accounts"):
        load_accounts_ensure(count)
    assert get_user_model().objects.count() == 0


@pytest.mark.parametrize("revocable", [False, True])
def test_tokens_are_what_simplejwt_mints(revocable, settings):
    settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, "CHECK_REVOKE_TOKEN": revocable}
    user = get_user_model().objects.get(pk=load_accounts_ensure(1)[0])
    now = timezone.now().replace(microsecond=0)
    tokens = access_tokens(user_ids=[user.pk, user.pk], ttl_seconds=900, now=now)
    ours, theirs = claims_of(tokens[0]), AccessToken.for_user(user).payload
    assert ours.keys() == theirs.keys()
    assert {**theirs, "exp": 0, "iat": 0, "jti": ""} == {**ours, "exp": 0, "iat": 0, "jti": ""}
    assert (ours["iat"], ours["exp"]) == (int(now.timestamp()), int(now.timestamp()) + 900)
    assert ours["jti"] != claims_of(tokens[1])["jti"]


def test_the_file_is_private_and_holds_a_token_a_line(campaign, tmp_path):
    path = tmp_path / "tokens"
    path.write_text("old")
    path.chmod(0o644)
    mint(campaign.pk, path, ttl_seconds=60)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    claims = [claims_of(line) for line in path.read_text().splitlines()]
    assert [claim["user_id"] for claim in claims] == [str(pk) for pk in load_accounts_ensure(3)]


def test_a_draft_and_a_stranger_are_refused(campaign, tmp_path):
    with pytest.raises(CommandError, match="no campaign"):
        mint(campaign.pk + 1, tmp_path / "tokens")
    Campaign.objects.update(published_at=None)
    with pytest.raises(CommandError, match="draft"):
        mint(campaign.pk, tmp_path / "tokens")
    assert get_user_model().objects.count() == 0
    assert not (tmp_path / "tokens").exists()


def test_outside_the_demo_it_has_to_be_asked_for(campaign, tmp_path, settings):
    settings.DEMO = False
    with pytest.raises(CommandError, match="allow-outside-demo"):
        mint(campaign.pk, tmp_path / "tokens")
    assert get_user_model().objects.count() == 0
    mint(campaign.pk, tmp_path / "tokens", allow_outside_demo=True)
    assert get_user_model().objects.count() == 3
