"""Reserving by the form, and the page of what became of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from orders.models import LostReason, Order, OrderStatus
from seckill import errors
from seckill.admission import Reservation
from seckill.models import Campaign
from shop.accounts.models import User
from shop.resilience.errors import ShopError
from tests.seckill.making import campaign_made
from tests.seckill.playing import LETTERS, SaleServer, badges, key_in, reservation_made

pytestmark = pytest.mark.django_db


# ---- reserving ----


@pytest.fixture
def reserve_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Every call of the service, which accepts."""
    calls: list[dict[str, Any]] = []

    def accept(**facts: Any) -> Reservation:
        calls.append(facts)
        return Reservation(
            reservation_id=f"{facts['campaign_id']}-{LETTERS}",
            replayed=False,
            server_time_ms=1,
            poll_after_ms=500,
        )

    monkeypatch.setattr("seckill.views.reservation_create", accept)
    return calls


@pytest.fixture
def refuse_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[ShopError], None]:
    def arrange(error: ShopError) -> None:
        def refuse(**facts: Any) -> None:
            raise error

        monkeypatch.setattr("seckill.views.reservation_create", refuse)

    return arrange


def test_reserve_calls_the_service_and_goes_to_the_reservation(
    signed_in: Client, shopper: User, sale_server: SaleServer, reserve_calls: list
) -> None:
    campaign = campaign_made()
    response = signed_in.post(f"/en/campaigns/{campaign.pk}/reserve/", {"key": "k-1", "quantity": "2"})
    assert response.status_code == 303
    assert response["Location"] == f"/en/reservations/{campaign.pk}-{LETTERS}/"
    assert reserve_calls == [{"campaign_id": campaign.pk, "user_id": shopper.pk, "quantity": 2, "key": "k-1"}]


def test_reserve_asks_who_is_signed_out_to_log_in(
    client: Client, sale_server: SaleServer, reserve_calls: list
) -> None:
    url = f"/en/campaigns/{campaign_made().pk}/reserve/"
    response = client.post(url, {"key": "k-1", "quantity": "1"})
    assert response.status_code == 302
    assert response["Location"] == f"/en/account/login/?next={url}"
    assert reserve_calls == []


def test_reserve_after_the_log_in_lands_on_the_campaign_and_buys_nothing(
    signed_in: Client, sale_server: SaleServer, reserve_calls: list
) -> None:
    campaign = campaign_made()
    response = signed_in.get(f"/en/campaigns/{campaign.pk}/reserve/")
    assert response.status_code == 302
    assert response["Location"] == f"/en/campaigns/{campaign.pk}/"
    assert reserve_calls == []


def test_reserve_without_the_forms_token_is_refused(
    shopper: User, sale_server: SaleServer, reserve_calls: list
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(shopper)
    response = client.post(f"/en/campaigns/{campaign_made().pk}/reserve/", {"key": "k-1", "quantity": "1"})
    assert response.status_code == 403
    assert b"This form is too old" in response.content
    assert reserve_calls == []


@pytest.mark.parametrize("quantity", ["0", "3", "-1", "x", ""])
def test_reserve_with_a_quantity_outside_the_limit_is_refused_with_the_key_kept(
    signed_in: Client, sale_server: SaleServer, reserve_calls: list, quantity: str
) -> None:
    campaign = campaign_made(limit_per_user=2)
    response = signed_in.post(f"/en/campaigns/{campaign.pk}/reserve/", {"key": "k-1", "quantity": quantity})
    assert response.status_code == 422
    assert key_in(response.content.decode()) == "k-1"
    assert 'class="errorlist"' in response.content.decode()
    assert reserve_calls == []


@pytest.mark.parametrize(
    ("error", "status", "retry_after", "words"),
    [
        (errors.NotStarted(), 409, None, "The sale has not started yet."),
        (errors.Ended(), 409, None, "The sale has ended."),
        (errors.SoldOut(), 409, None, "Sold out."),
        (errors.LimitReached(), 409, None, "You have reached the limit for this sale."),
        (errors.RateLimited(retry_after_seconds=7), 429, "7", "Too many requests."),
        (errors.Paused(), 503, "5", "The sale is paused."),
        (errors.Busy(), 503, "1", "Very many people are buying."),
        (errors.Unknown(), 503, "1", "The answer got lost. Press again to learn what happened."),
        (errors.SaleUnavailable(), 503, "2", "The sale cannot be reached right now."),
    ],
)
def test_reserve_refused_is_told_on_the_campaigns_page_with_the_key_kept(
    signed_in: Client,
    sale_server: SaleServer,
    refuse_with: Callable[[ShopError], None],
    error: ShopError,
    status: int,
    retry_after: str | None,
    words: str,
) -> None:
    campaign = campaign_made()
    refuse_with(error)
    response = signed_in.post(f"/en/campaigns/{campaign.pk}/reserve/", {"key": "k-1", "quantity": "2"})
    html = response.content.decode()
    assert response.status_code == status
    assert response.get("Retry-After") == retry_after
    assert words in html
    assert key_in(html) == "k-1"
    assert '<option value="2" selected>' in html
    assert "<title>Error: Kettle sale" in html


def test_reserve_can_be_pressed_again_while_the_sales_server_is_down(
    signed_in: Client, sale_server: SaleServer, refuse_with: Callable[[ShopError], None]
) -> None:
    campaign = campaign_made()
    sale_server.down = True
    refuse_with(errors.Unknown())
    response = signed_in.post(f"/en/campaigns/{campaign.pk}/reserve/", {"key": "k-1", "quantity": "1"})
    html = response.content.decode()
    assert response.status_code == 503
    assert badges(html) == ["Paused"]
    assert key_in(html) == "k-1"
    assert "Try again" in html


@pytest.mark.parametrize(("error", "status"), [(errors.KeyReused(), 422), (errors.KeyMissing(), 400)])
def test_reserve_with_a_spent_key_gets_a_new_one(
    signed_in: Client,
    sale_server: SaleServer,
    refuse_with: Callable[[ShopError], None],
    error: ShopError,
    status: int,
) -> None:
    campaign = campaign_made()
    refuse_with(error)
    response = signed_in.post(f"/en/campaigns/{campaign.pk}/reserve/", {"key": "k-1", "quantity": "1"})
    assert response.status_code == status
    assert len(key_in(response.content.decode())) == 22
    assert "Idempotency-Key" not in response.content.decode()


def test_reserve_in_a_campaign_that_does_not_exist_is_not_found(
    signed_in: Client, sale_server: SaleServer, reserve_calls: list
) -> None:
    response = signed_in.post("/en/campaigns/987654/reserve/", {"key": "k-1", "quantity": "1"})
    assert response.status_code == 404
    assert reserve_calls == []


def test_refusal_page_switches_language_to_the_campaign_not_to_the_form(
    signed_in: Client, sale_server: SaleServer, refuse_with: Callable[[ShopError], None]
) -> None:
    campaign = campaign_made()
    refuse_with(errors.SoldOut())
    response = signed_in.post(f"/en/campaigns/{campaign.pk}/reserve/", {"key": "k-1", "quantity": "1"})
    assert f'name="next" value="/en/campaigns/{campaign.pk}/"' in response.content.decode()


# ---- the reservation's page ----


def reservation_page(client: Client, campaign: Campaign) -> tuple[int, str, Any]:
    response = client.get(f"/en/reservations/{campaign.pk}-{LETTERS}/")
    return response.status_code, response.content.decode(), response


def order_made(user: User, campaign: Campaign, status: str) -> Order:
    return Order.objects.create(
        number=LETTERS[:16].upper(),
        reservation_id=f"{campaign.pk}-{LETTERS}",
        user=user,
        sale=campaign.sale,
        status=status,
        units=1,
        total=campaign.sale.price,
        created_at=timezone.now(),
        expires_at=timezone.now() + timedelta(minutes=15),
    )


def test_reservation_queued_asks_again_by_itself(signed_in: Client, sale_server: SaleServer) -> None:
    campaign = campaign_made()
    sale_server.mine = [reservation_made(campaign, "queued")]
    status, html, _ = reservation_page(signed_in, campaign)
    assert status == 200
    assert '<meta http-equiv="refresh" content="3">' in html
    assert '<meta name="robots" content="noindex">' in html
    assert "your place is kept" in html


def test_reservation_won_shows_number_pay_by_and_the_way_to_pay(
    signed_in: Client, shopper: User, sale_server: SaleServer
) -> None:
    campaign = campaign_made()
    order = order_made(shopper, campaign, OrderStatus.PENDING)
    sale_server.mine = [
        reservation_made(campaign, "won", order_number=order.number, pay_by=order.expires_at),
    ]
    status, html, _ = reservation_page(signed_in, campaign)
    assert status == 200
    assert f'href="/en/pay/{order.number}/"' in html
    assert f'href="/en/orders/{order.number}/"' in html
    assert order.expires_at is not None
    assert order.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ") in html
    assert "http-equiv" not in html


def test_reservation_won_and_paid_asks_for_no_money(
    signed_in: Client, shopper: User, sale_server: SaleServer
) -> None:
    campaign = campaign_made()
    order = order_made(shopper, campaign, OrderStatus.PAID)
    sale_server.mine = [reservation_made(campaign, "won", order_number=order.number, pay_by=order.expires_at)]
    status, html, _ = reservation_page(signed_in, campaign)
    assert status == 200
    assert "/en/pay/" not in html
    assert "There is nothing to pay now" in html


@pytest.mark.parametrize("reason", LostReason.values)
def test_reservation_lost_says_why_in_words_with_one_next_step(
    signed_in: Client, sale_server: SaleServer, reason: str
) -> None:
    campaign = campaign_made()
    sale_server.mine = [reservation_made(campaign, "lost", reason=reason)]
    status, html, _ = reservation_page(signed_in, campaign)
    main = html.split("<main")[1].split("</main>")[0]
    words = {
        "sold_out": "Others were faster",
        "limit_reached": "You already hold as many units",
        "ended": "The sale ended before your turn came.",
        "payment_expired": "It was not paid in time",
        "cancelled": "The order was cancelled",
        "our_fault": "A fault on our side",
    }
    assert status == 200
    assert words[reason] in main
    assert main.count('class="button"') == 1
    assert "http-equiv" not in html


def test_reservation_of_somebody_else_is_not_found(signed_in: Client, sale_server: SaleServer) -> None:
    status, _, _ = reservation_page(signed_in, campaign_made())
    assert status == 404


def test_reservation_while_the_sales_server_is_down_keeps_trying(
    signed_in: Client, sale_server: SaleServer
) -> None:
    sale_server.down = True
    status, html, response = reservation_page(signed_in, campaign_made())
    assert status == 503
    assert response["Retry-After"] == "3"
    assert '<meta http-equiv="refresh" content="3">' in html
    assert "your place is kept" in html
    assert "Not this time" not in html


def test_reservation_needs_a_log_in(client: Client) -> None:
    response = client.get(f"/en/reservations/1-{LETTERS}/")
    assert response["Location"] == f"/en/account/login/?next=/en/reservations/1-{LETTERS}/"


def test_reservations_lists_every_one_with_its_outcome(signed_in: Client, sale_server: SaleServer) -> None:
    campaign = campaign_made()
    sale_server.mine = [
        reservation_made(campaign, "queued"),
        reservation_made(campaign, "lost", reason="ended", reservation_id=f"{campaign.pk}-{LETTERS[::-1]}"),
    ]
    html = signed_in.get("/en/reservations/").content.decode()
    assert badges(html) == ["In the queue", "Not this time"]


def test_reservations_without_any_shows_the_way_on(signed_in: Client, sale_server: SaleServer) -> None:
    assert "You have reserved nothing yet." in signed_in.get("/en/reservations/").content.decode()


def test_reservations_while_the_sales_server_is_down_does_not_say_none(
    signed_in: Client, sale_server: SaleServer
) -> None:
    sale_server.down = True
    html = signed_in.get("/en/reservations/").content.decode()
    assert "You have reserved nothing yet." not in html
    assert "does not answer at the moment" in html
