"""The admin of flash sales: drafts, operations with their consequences, and who may do what."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from seckill import admin_operations, conservation, errors, selectors
from seckill.conservation import Equation
from seckill.models import Campaign, CampaignOperation
from shop.accounts.models import User
from tests.seckill.making import campaign_made, product_made

pytestmark = pytest.mark.django_db

LIST = "/admin/seckill/campaign/"
EN = {"accept-language": "en"}


@pytest.fixture(autouse=True)
def _sale_server_played(monkeypatch: pytest.MonkeyPatch) -> None:
    """37 left, 12 reserved, 3 unpaid, whatever the campaign."""

    def live(*, campaign_id: int, now: datetime) -> selectors.LiveNumbers:
        return selectors.LiveNumbers(left=37, as_of_ms=0, phase="open")

    def equation(*, campaign_id: int) -> Equation:
        return Equation(
            campaign_id=campaign_id, name="", allotment=52, left=37, reserved=12, unpaid=3, paid=0, returning=0,
            handed_back=0, in_motion=0, residue=0, problems=[],
        )  # fmt: skip

    monkeypatch.setattr(selectors, "campaign_live", live)
    monkeypatch.setattr(conservation, "conservation", equation)


@pytest.fixture
def service_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every call of an operation's service, which does nothing."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def recorder(name: str) -> Callable[..., None]:
        return lambda **facts: calls.append(
            (name, {key: facts[key] for key in facts if key not in ("actor", "now")})
        )

    for name in admin_operations.OPERATIONS:
        _run_instead(monkeypatch, name, recorder(name))
    return calls


def _run_instead(monkeypatch: pytest.MonkeyPatch, name: str, run: Callable[..., None]) -> None:
    operation = replace(admin_operations.OPERATIONS[name], run=run)
    monkeypatch.setitem(admin_operations.OPERATIONS, name, operation)


def staff_made(*permissions: str) -> User:
    user = User.objects.create_user(
        "-".join(permissions) or "staff", "s@example.com", "flash-demo", is_staff=True
    )
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def manager(client: Client) -> Client:
    client.force_login(staff_made("view_campaign", "add_campaign", "change_campaign", "view_product"))
    return client


@pytest.fixture
def auditor(client: Client) -> Client:
    client.force_login(staff_made("view_campaign", "view_campaignoperation"))
    return client


def html_of(client: Client, url: str) -> str:
    response = client.get(url, headers=EN)
    assert response.status_code == 200
    return response.content.decode()


def draft_facts(**changes: Any) -> dict[str, Any]:
    return {
        "name_zh": "台灯秒杀",
        "name_en": "Lamp sale",
        "starts_at_0": "2031-01-02",
        "starts_at_1": "20:00:00",
        "ends_at_0": "2031-01-02",
        "ends_at_1": "21:00:00",
        "price": "99.00",
        "limit_per_user": "2",
        "allotment": "40",
        **changes,
    }


# ---- drafts ----


def test_draft_is_created_through_the_service(manager: Client) -> None:
    product = product_made(stock=100)
    response = manager.post(f"{LIST}add/", draft_facts(product=product.pk), headers=EN)
    assert response.status_code == 302
    campaign = Campaign.objects.select_related("sale").get()
    assert (campaign.name_en, campaign.published_at) == ("Lamp sale", None)
    assert (campaign.sale.price, campaign.sale.limit_per_user, campaign.sale.allotment) == (
        Decimal("99.00"),
        2,
        40,
    )
    assert campaign.starts_at.isoformat() == "2031-01-02T12:00:00+00:00"
    product.refresh_from_db()
    assert product.stock == 100
    assert LogEntry.objects.get().object_id == str(campaign.pk)


def test_draft_is_changed_through_the_service(manager: Client) -> None:
    campaign = campaign_made(published=False)
    facts = draft_facts(product=campaign.sale.product_id, allotment="41")
    assert manager.post(f"{LIST}{campaign.pk}/change/", facts, headers=EN).status_code == 302
    campaign = Campaign.objects.select_related("sale").get()
    assert (campaign.name_en, campaign.sale.allotment) == ("Lamp sale", 41)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ends_at_1": "20:00:00"},
        {"allotment": "0"},
        {"limit_per_user": "21"},
        {"price": "-1"},
        {"product": "0"},
    ],
)
def test_draft_with_a_wrong_value_is_refused(manager: Client, wrong: dict[str, str]) -> None:
    facts = {**draft_facts(product=product_made().pk), **wrong}
    response = manager.post(f"{LIST}add/", facts, headers=EN)
    assert response.status_code == 200
    assert b"errorlist" in response.content
    assert Campaign.objects.count() == 0


def test_draft_form_shows_the_sale_rows_values(manager: Client) -> None:
    campaign = campaign_made(published=False, allotment=43)
    html = html_of(manager, f"{LIST}{campaign.pk}/change/")
    assert 'name="allotment" value="43"' in html
    assert 'name="price" value="1299.00"' in html


def test_published_campaign_cannot_be_edited(manager: Client) -> None:
    campaign = campaign_made()
    html = html_of(manager, f"{LIST}{campaign.pk}/change/")
    assert 'name="allotment"' not in html
    assert 'name="_save"' not in html
    assert "1299.00 CNY" in html
    response = manager.post(
        f"{LIST}{campaign.pk}/change/", draft_facts(product=campaign.sale.product_id), headers=EN
    )
    assert response.status_code == 403
    campaign.refresh_from_db()
    assert campaign.name_en == "Kettle sale"


def test_campaign_is_never_deleted(manager: Client) -> None:
    campaign = campaign_made(published=False)
    assert manager.post(f"{LIST}{campaign.pk}/delete/", {"post": "yes"}, headers=EN).status_code == 403
    assert Campaign.objects.count() == 1


# ---- the list ----


def test_list_shows_state_and_counters(manager: Client) -> None:
    campaign = campaign_made(allotment=52)
    campaign.sale.sold = 3
    campaign.sale.save()
    html = html_of(manager, LIST)
    for column, value in (
        ("state_shown", "live"),
        ("left_shown", "37"),
        ("sold_shown", "3"),
        ("allotment_shown", "52"),
    ):
        assert f'<td class="field-{column}">{value}</td>' in html
    assert "<style" not in html


def test_list_queries_do_not_grow_with_campaigns(
    manager: Client, django_assert_num_queries: Callable, django_assert_max_num_queries: Callable
) -> None:
    product = product_made()
    campaign_made(product=product)
    with django_assert_max_num_queries(12) as first:
        html_of(manager, LIST)
    campaign_made(product=product)
    campaign_made(product=product)
    with django_assert_num_queries(len(first)):
        html_of(manager, LIST)


def test_list_says_that_what_is_left_is_not_known(manager: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*, campaign_id: int, now: datetime) -> selectors.LiveNumbers:
        return selectors.LiveNumbers(left=None, as_of_ms=0, phase="paused")

    monkeypatch.setattr(selectors, "campaign_live", unknown)
    campaign_made()
    assert '<td class="field-left_shown">?</td>' in html_of(manager, LIST)


# ---- operations ----


@pytest.mark.parametrize(
    ("facts", "offered"),
    [
        ({"published": False}, ["publish"]),
        ({"starts_in": timedelta(hours=1)}, ["pause", "close"]),
        ({}, ["pause", "close"]),
        ({"paused_reason": "price"}, ["resume", "close"]),
        ({"starts_in": timedelta(hours=-2)}, ["close"]),
    ],
)
def test_change_page_offers_what_the_state_allows(manager: Client, facts: dict, offered: list[str]) -> None:
    campaign = campaign_made(**facts)
    html = html_of(manager, f"{LIST}{campaign.pk}/change/")
    found = [name for name in admin_operations.OPERATIONS if f"/{campaign.pk}/{name}/confirm/" in html]
    assert found == offered


@pytest.mark.parametrize(
    ("name", "facts", "consequence"),
    [
        ("publish", {"published": False}, "50 units leave the ordinary stock of Kettle: 100 → 50."),
        ("pause", {}, "37 left; 12 in flight will still be decided; 3 unpaid can still be paid."),
        ("resume", {"paused_reason": "price"}, "Shoppers can reserve again at once. 37 units are left."),
        ("close", {}, "37 left go back to the ordinary stock of Kettle; 12 in flight will still be decided"),
    ],
)
def test_operation_states_its_consequence_and_waits(
    manager: Client, service_calls: list, name: str, facts: dict, consequence: str
) -> None:
    campaign = campaign_made(**facts)
    assert consequence in html_of(manager, f"{LIST}{campaign.pk}/{name}/confirm/")
    assert service_calls == []


@pytest.mark.parametrize(
    ("name", "facts", "sent", "words"),
    [
        ("publish", {"published": False}, {}, "Publish"),
        ("pause", {}, {"reason": "wrong price"}, "Pause: wrong price"),
        ("resume", {"paused_reason": "price"}, {}, "Resume"),
        ("close", {}, {"reason": "recall"}, "Close for good: recall"),
    ],
)
def test_operation_confirmed_calls_its_service_and_is_logged(
    manager: Client, service_calls: list, name: str, facts: dict, sent: dict, words: str
) -> None:
    campaign = campaign_made(**facts)
    response = manager.post(f"{LIST}{campaign.pk}/{name}/confirm/", {"confirmed": "yes", **sent}, headers=EN)
    assert response["Location"] == f"{LIST}{campaign.pk}/change/"
    assert service_calls == [(name, {"campaign_id": campaign.pk, **sent})]
    assert LogEntry.objects.get(object_id=str(campaign.pk)).get_change_message() == words


def test_operation_says_that_the_numbers_are_not_known(
    manager: Client, monkeypatch: pytest.MonkeyPatch, service_calls: list
) -> None:
    def refuse(**facts: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(conservation, "conservation", refuse)
    html = html_of(manager, f"{LIST}{campaign_made().pk}/close/confirm/")
    assert "how many are left and in flight is not known" in html


def test_operation_without_its_reason_is_not_done(manager: Client, service_calls: list) -> None:
    campaign = campaign_made()
    response = manager.post(
        f"{LIST}{campaign.pk}/pause/confirm/", {"confirmed": "yes", "reason": " "}, headers=EN
    )
    assert response.status_code == 200
    assert b"errorlist" in response.content
    assert service_calls == []
    assert LogEntry.objects.count() == 0


def test_operation_that_the_state_does_not_allow_is_not_done(manager: Client, service_calls: list) -> None:
    campaign = campaign_made(published=False)
    url = f"{LIST}{campaign.pk}/pause/confirm/"
    response = manager.post(url, {"confirmed": "yes", "reason": "x"}, headers=EN, follow=True)
    assert b"Not in a state for this: Kettle sale (draft)." in response.content
    assert service_calls == []


def test_operation_refused_by_the_service_is_told_and_not_logged(
    manager: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**facts: object) -> None:
        raise errors.OperationPending

    _run_instead(monkeypatch, "pause", refuse)
    campaign = campaign_made()
    response = manager.post(
        f"{LIST}{campaign.pk}/pause/confirm/", {"confirmed": "yes", "reason": "x"}, headers=EN, follow=True
    )
    assert b"An earlier operation on this campaign is not finished yet." in response.content
    assert LogEntry.objects.count() == 0


def test_operation_is_absent_for_who_may_only_look(auditor: Client, service_calls: list) -> None:
    campaign = campaign_made()
    assert "/confirm/" not in html_of(auditor, f"{LIST}{campaign.pk}/change/")
    assert "pause_selected" not in html_of(auditor, LIST)
    url = f"{LIST}{campaign.pk}/pause/confirm/"
    assert auditor.get(url, headers=EN).status_code == 403
    assert auditor.post(url, {"confirmed": "yes", "reason": "x"}, headers=EN).status_code == 403
    assert service_calls == []


def test_operator_may_pause_without_being_able_to_publish_or_edit(
    client: Client, service_calls: list
) -> None:
    client.force_login(staff_made("view_campaign", "add_campaignoperation"))
    product = product_made()
    live, draft = campaign_made(product=product), campaign_made(product=product, published=False)
    listed = html_of(client, LIST)
    assert "pause_selected" in listed
    assert "publish_selected" not in listed
    assert (
        client.post(f"{LIST}{draft.pk}/publish/confirm/", {"confirmed": "yes"}, headers=EN).status_code == 403
    )
    assert 'name="allotment"' not in html_of(client, f"{LIST}{draft.pk}/change/")
    client.post(f"{LIST}{live.pk}/pause/confirm/", {"confirmed": "yes", "reason": "fire"}, headers=EN)
    assert service_calls == [("pause", {"campaign_id": live.pk, "reason": "fire"})]


def test_list_action_asks_first_then_counts_what_was_done(manager: Client, service_calls: list) -> None:
    product = product_made()
    live = [campaign_made(product=product), campaign_made(product=product)]
    draft = campaign_made(product=product, published=False)
    chosen = {"action": "pause_selected", "_selected_action": [row.pk for row in [*live, draft]]}
    asked = manager.post(LIST, chosen, headers=EN)
    assert asked.content.decode().count("12 in flight will still be decided") == 2
    assert service_calls == []
    confirmed = {
        "action": "pause_selected",
        "_selected_action": [row.pk for row in live],
        "confirmed": "yes",
        "reason": "stock count",
    }
    done = manager.post(LIST, confirmed, headers=EN, follow=True)
    assert b"2 campaigns were paused." in done.content
    assert {call[1]["campaign_id"] for call in service_calls} == {row.pk for row in live}


def test_list_action_counts_one_in_the_singular(manager: Client, service_calls: list) -> None:
    campaign = campaign_made(published=False)
    sent = {"action": "publish_selected", "_selected_action": [campaign.pk], "confirmed": "yes"}
    assert b"1 campaign was published." in manager.post(LIST, sent, headers=EN, follow=True).content


def test_operation_of_an_unknown_name_or_campaign_is_not_found(manager: Client) -> None:
    campaign = campaign_made()
    for path in (f"{campaign.pk}/explode", f"{campaign.pk + 1}/pause"):
        assert manager.get(f"{LIST}{path}/confirm/", headers=EN).status_code == 404


# ---- the operations' list ----


def test_operations_are_listed_and_read_only(auditor: Client) -> None:
    campaign = campaign_made()
    row = CampaignOperation.objects.create(
        campaign=campaign, number=1, kind="pause", reason="wrong price", created_at=timezone.now()
    )
    html = html_of(auditor, "/admin/seckill/campaignoperation/")
    assert "wrong price" in html
    assert "<style" not in html
    assert 'name="_save"' not in html_of(auditor, f"/admin/seckill/campaignoperation/{row.pk}/change/")
    assert auditor.get("/admin/seckill/campaignoperation/add/").status_code == 403
