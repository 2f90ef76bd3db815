"""The demo's data: roles, users, products, campaigns; again and again without doubling anything."""

import time
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db.models import Count, F, Sum

from seckill.models import Campaign, CampaignState
from seckill.store import sale_store, unverified_store
from shop.accounts.models import Address, User
from shop.catalog.models import Category, Product, ProductFamily, StockEntry
from shop.catalog.services import stock_change
from shop.site.seed import (
    DEMO_PASSWORD,
    DEMO_USERS,
    ROLES,
    SeedCounts,
    roles_ensure,
    seed_campaigns,
    seed_demo,
)

pytestmark = pytest.mark.django_db
# Times are the process's own CPU seconds: what else the machine does must not fail a test.

NOW = datetime(2026, 6, 18, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def sale_server(valkey_server):
    """An empty sale's server: ids start again in each test's database, so old keys would meet new campaigns."""
    valkey_server.clear()
    for store in (sale_store, unverified_store):
        if hasattr(store, "cache_clear"):
            store.cache_clear()
    return valkey_server


@pytest.fixture
def seeded(sale_server):
    seed_demo(now=NOW)
    return seed_campaigns(now=NOW)


def test_seed_demo_makes_everything_once():
    assert seed_demo(now=NOW) == SeedCounts(roles=5, users=6, products=200)
    entries = StockEntry.objects.count()

    started = time.process_time()
    assert seed_demo(now=NOW + DAY) == SeedCounts(roles=0, users=0, products=0)
    assert time.process_time() - started < 3
    assert (User.objects.count(), Product.objects.count(), Address.objects.count()) == (6, 200, 1)
    assert (Category.objects.count(), StockEntry.objects.count()) == (26, entries)


def test_seed_demo_is_quick_with_the_real_hasher(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]

    started = time.process_time()
    seed_demo(now=NOW)

    assert time.process_time() - started < 8


def test_seed_demo_products_have_all_their_stock_in_the_ledger():
    seed_demo(now=NOW)

    without_entry = Product.objects.annotate(total=Sum("stock_entries__delta"), rows=Count("stock_entries"))
    assert not without_entry.filter(stock__gt=0).exclude(total=F("stock"), rows=1).exists()
    assert not without_entry.filter(stock=0, rows__gt=0).exists()
    assert Product.objects.filter(stock=0).exists()
    assert Product.objects.filter(stock__gt=0, stock__lte=F("low_stock")).exists()


def test_seed_demo_products_have_names_prices_and_families_that_fit():
    seed_demo(now=NOW)

    product = Product.objects.get(slug="phone-aurora-x-256-gb-blue")
    assert (product.name_zh, product.name_en) == ("极光 X 手机 256 GB 雾蓝", "Aurora X phone, 256 GB, blue")
    assert (str(product.price), product.currency) == ("4399.00", "CNY")
    assert product.options == {"storage": "256 GB", "colour": "blue"}
    assert product.family == ProductFamily.objects.get(slug="phone-aurora-x")
    assert Product.objects.filter(family=product.family).count() == 6
    assert product.category.slug == "phones"
    assert not Product.objects.filter(name_zh="").exists()
    assert not ProductFamily.objects.annotate(members=Count("products")).filter(members__lt=2).exists()
    for slug in ("digital", "shoes", "books"):
        assert Category.objects.filter(
            path__startswith=Category.objects.get(slug=slug).path, depth=2
        ).exists()


def test_seed_demo_repairs_what_is_missing_and_leaves_the_rest():
    seed_demo(now=NOW)
    changed = Product.objects.get(slug="plant-jade")
    Product.objects.filter(pk=changed.pk).update(name_en="Renamed")
    User.objects.get(username="support").delete()
    shopper = User.objects.get(username="shopper")
    shopper.set_password("my own password")
    shopper.save()

    assert seed_demo(now=NOW + DAY) == SeedCounts(roles=0, users=1, products=0)
    assert Product.objects.get(pk=changed.pk).name_en == "Renamed"
    assert User.objects.get(username="shopper").check_password("my own password")


def test_seed_demo_users_log_in_with_their_rights(client):
    seed_demo(now=NOW)

    for name in DEMO_USERS:
        assert client.login(username=name, password=DEMO_PASSWORD)
    users = {user.username: user for user in User.objects.all()}
    assert {name for name, user in users.items() if user.is_staff} == set(DEMO_USERS) - {"shopper"}
    assert {name for name, user in users.items() if user.is_superuser} == {"admin"}
    assert users["shopper"].addresses.get().is_default
    may_change_stock = {name for name, user in users.items() if user.has_perm("catalog.add_stockentry")}
    assert may_change_stock == {"stock", "admin"}
    assert {name for name, user in users.items() if user.has_perm("orders.add_refund")} == {
        "support",
        "admin",
    }
    assert {name for name, user in users.items() if user.has_perm("seckill.add_campaign")} == {
        "campaigns",
        "admin",
    }


def test_roles_auditor_reads_and_changes_nothing():
    roles_ensure()

    names = Group.objects.get(name="auditor").permissions.values_list("codename", flat=True)
    assert len(names) == len(ROLES["auditor"])
    assert [name for name in names if not name.startswith("view_")] == []


def test_roles_ensure_keeps_what_an_admin_added():
    assert roles_ensure() == 5
    group = Group.objects.get(name="operator")
    added = Permission.objects.get(codename="delete_address")
    group.permissions.add(added)
    group.permissions.remove(Permission.objects.get(codename="view_deadletter"))

    assert roles_ensure() == 0
    assert added in group.permissions.all()
    assert group.permissions.filter(codename="view_deadletter").exists()


def test_roles_ensure_refuses_a_permission_that_does_not_exist(monkeypatch):
    monkeypatch.setitem(ROLES, "operator", ("orders.fly",))

    with pytest.raises(ImproperlyConfigured, match=r"orders\.fly"):
        roles_ensure()
    assert not Group.objects.exists()


@pytest.mark.parametrize("seed", [seed_demo, seed_campaigns])
def test_seed_is_refused_where_demo_data_is_off(settings, seed):
    settings.DEMO = False

    with pytest.raises(ImproperlyConfigured, match="Demo data is off"):
        seed(now=NOW)
    assert not User.objects.exists()


def test_seed_campaigns_makes_one_live_one_upcoming_one_ended(seeded):
    states = {campaign.state(NOW): campaign for campaign in Campaign.objects.select_related("sale")}

    assert len(seeded) == 3
    assert states.keys() == {CampaignState.LIVE, CampaignState.SCHEDULED, CampaignState.ENDED}
    live, upcoming = states[CampaignState.LIVE], states[CampaignState.SCHEDULED]
    assert (live.sale.allotment, live.sale.limit_per_user) == (2_000, 2)
    assert live.ends_at == NOW + DAY
    assert upcoming.starts_at == NOW + timedelta(minutes=2)


def test_seed_campaigns_take_their_units_out_of_stock_by_ledger(seeded):
    for campaign in seeded:
        product = Product.objects.get(pk=campaign.sale.product_id)
        assert product.stock_entries.filter(delta=-campaign.sale.allotment, reason="campaign").count() == 1
        assert product.stock_entries.aggregate(total=Sum("delta"))["total"] == product.stock


def test_seed_campaigns_again_at_once_makes_nothing(seeded):
    assert seed_campaigns(now=NOW + timedelta(seconds=30)) == []
    assert Campaign.objects.count() == 3


def test_seed_campaigns_later_the_same_day_makes_a_new_start(seeded):
    made = seed_campaigns(now=NOW + timedelta(minutes=5))

    assert [campaign.starts_at for campaign in made] == [NOW + timedelta(minutes=7)]


def test_seed_campaigns_next_day_makes_all_that_has_passed_anew(seeded):
    later = NOW + timedelta(days=2)

    made = seed_campaigns(now=later)

    assert [campaign.state(later) for campaign in made] == [
        CampaignState.LIVE,
        CampaignState.SCHEDULED,
        CampaignState.ENDED,
    ]
    assert Campaign.objects.count() == 6


def test_seed_campaigns_replaces_a_live_campaign_that_sold_out(seeded):
    sale = seeded[0].sale
    type(sale).objects.filter(pk=sale.pk).update(sold=sale.allotment)

    made = seed_campaigns(now=NOW + timedelta(seconds=30))

    assert [campaign.sale.allotment for campaign in made] == [2_000]


def test_seed_campaigns_tops_up_a_product_that_staff_emptied(sale_server):
    seed_demo(now=NOW)
    product = Product.objects.get(slug="kettle-quickboil-1-2-l-white")
    if product.stock:
        stock_change(product_id=product.pk, delta=-product.stock, reason="count", now=NOW)

    assert len(seed_campaigns(now=NOW)) == 3
    product.refresh_from_db()
    assert product.stock == 0


def test_seed_command_prints_counts(sale_server):
    output = StringIO()

    call_command("seed", stdout=output)

    lines = output.getvalue().splitlines()
    assert lines[0] == "Made: 5 roles, 6 users, 200 products, 3 campaigns"
    assert len(lines) == 4


def test_seed_command_without_campaigns_needs_no_sale_server():
    output = StringIO()

    call_command("seed", "--no-campaigns", stdout=output)

    assert output.getvalue() == "Made: 5 roles, 6 users, 200 products, 0 campaigns\n"
    assert not Campaign.objects.exists()


def test_seed_command_refuses_demo_data_but_makes_roles_in_production(settings):
    settings.DEMO = False
    output = StringIO()

    with pytest.raises(CommandError, match="Demo data is off"):
        call_command("seed")
    call_command("seed", "--roles-only", stdout=output)

    assert output.getvalue() == "Roles made: 5\n"
    assert (User.objects.count(), Group.objects.count()) == (0, 5)
