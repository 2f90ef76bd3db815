"""The campaign's page in every state; the sale's server is played by its selectors here."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from orders.models import SalePhase
from seckill.models import Campaign
from shop.accounts.models import User
from tests.seckill.making import campaign_made
from tests.seckill.playing import LETTERS, SaleServer, badges, key_in, reservation_made

pytestmark = pytest.mark.django_db


def campaign_html(client: Client, campaign: Campaign, language: str = "en") -> str:
    response = client.get(f"/{language}/campaigns/{campaign.pk}/")
    assert response.status_code == 200
    return response.content.decode()


def test_campaign_live_offers_the_form_to_who_is_signed_in(
    signed_in: Client, sale_server: SaleServer
) -> None:
    campaign = campaign_made(limit_per_user=2)
    html = campaign_html(signed_in, campaign)
    assert badges(html) == ["Buy now"]
    assert f'action="/en/campaigns/{campaign.pk}/reserve/"' in html
    assert re.findall(r'<option value="(\d+)"', html) == ["1", "2"]
    assert len(key_in(html)) == 22
    assert "¥1,299.00" in html
    assert "<s>¥1,599.00</s>" in html


def test_campaign_page_gives_every_visit_a_key_of_its_own(signed_in: Client, sale_server: SaleServer) -> None:
    campaign = campaign_made()
    assert key_in(campaign_html(signed_in, campaign)) != key_in(campaign_html(signed_in, campaign))


def test_campaign_page_may_be_kept_for_going_back_but_by_nobody_else(
    signed_in: Client, sale_server: SaleServer
) -> None:
    header = signed_in.get(f"/en/campaigns/{campaign_made().pk}/")["Cache-Control"]
    assert set(header.split(", ")) == {"private", "no-cache"}


def test_campaign_live_sends_who_is_signed_out_to_log_in(client: Client, sale_server: SaleServer) -> None:
    campaign = campaign_made()
    html = campaign_html(client, campaign)
    assert f'href="/en/account/login/?next=/en/campaigns/{campaign.pk}/"' in html
    assert 'name="key"' not in html


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (37, "26 % gone · 30+ left"),
        (11, "78 % gone · 10+ left"),
        (10, "80 % gone · 10 left"),
        (1, "98 % gone · 1 left"),
    ],
)
def test_campaign_stock_is_rounded_above_ten_and_says_of_when_it_is(
    client: Client, sale_server: SaleServer, left: int, text: str
) -> None:
    sale_server.left = left
    html = campaign_html(client, campaign_made(allotment=50))
    assert re.search(re.escape(text) + r" · as of <time datetime=\"[-\dT:]+Z\">[^<]+:\d\d:\d\d</time>", html)


@pytest.mark.parametrize(
    ("server", "campaign", "headline"),
    [
        ({}, {"starts_in": timedelta(minutes=5)}, "Starts soon"),
        ({"left": 0}, {}, "Sold out"),
        ({"phase": "paused"}, {"paused_reason": "price"}, "Paused"),
        ({"phase": "paused"}, {}, "Paused"),
        ({"down": True}, {}, "Paused"),
        ({"down": True}, {"starts_in": timedelta(minutes=5)}, "Starts soon"),
        ({"phase": "closing"}, {}, "Ended"),
        ({}, {"starts_in": timedelta(hours=-2)}, "Ended"),
        ({"phase": "closed", "left": 0}, {"starts_in": timedelta(hours=-2)}, "Ended"),
    ],
)
def test_campaign_that_cannot_be_bought_says_why_and_has_no_form(
    signed_in: Client, sale_server: SaleServer, server: dict, campaign: dict, headline: str
) -> None:
    for name, value in server.items():
        setattr(sale_server, name, value)
    html = campaign_html(signed_in, campaign_made(**campaign))
    assert badges(html) == [headline]
    assert 'name="key"' not in html


def test_campaign_of_unknown_stock_is_never_called_sold_out(client: Client, sale_server: SaleServer) -> None:
    sale_server.down = True
    html = campaign_html(client, campaign_made())
    assert "Sold out" not in html
    assert "How many are left is not known at the moment." in html
    assert "<progress" not in html


def test_campaign_shows_the_queue_and_still_sells_the_rest_of_the_limit(
    signed_in: Client, sale_server: SaleServer
) -> None:
    campaign = campaign_made(limit_per_user=2)
    sale_server.mine = [reservation_made(campaign, "queued", units=1)]
    html = campaign_html(signed_in, campaign)
    assert badges(html) == ["In the queue"]
    assert f'href="/en/reservations/{campaign.pk}-{LETTERS}/"' in html
    assert re.findall(r'<option value="(\d+)"', html) == ["1"]


def test_campaign_is_yours_while_there_is_time_to_pay(signed_in: Client, sale_server: SaleServer) -> None:
    campaign = campaign_made(limit_per_user=1)
    pay_by = timezone.now() + timedelta(minutes=10)
    sale_server.mine = [reservation_made(campaign, "won", order_number="ABCDEFGHIJKLMNOP", pay_by=pay_by)]
    html = campaign_html(signed_in, campaign)
    assert badges(html) == ["It&#x27;s yours"]
    assert 'name="key"' not in html


def test_campaign_says_limit_reached_once_the_units_are_paid(
    signed_in: Client, sale_server: SaleServer
) -> None:
    campaign = campaign_made(limit_per_user=2)
    pay_by = timezone.now() - timedelta(minutes=1)
    sale_server.mine = [
        reservation_made(campaign, "won", units=2, order_number="ABCDEFGHIJKLMNOP", pay_by=pay_by)
    ]
    html = campaign_html(signed_in, campaign)
    assert badges(html) == ["Limit reached"]
    assert 'name="key"' not in html


def test_campaign_says_not_this_time_to_who_lost_a_sold_out_sale(
    signed_in: Client, sale_server: SaleServer
) -> None:
    campaign = campaign_made()
    sale_server.left = 0
    sale_server.mine = [reservation_made(campaign, "lost", reason="sold_out")]
    assert badges(campaign_html(signed_in, campaign)) == ["Not this time"]


def test_campaign_lost_before_can_be_tried_again_while_units_are_left(
    signed_in: Client, sale_server: SaleServer
) -> None:
    campaign = campaign_made(limit_per_user=1)
    sale_server.mine = [reservation_made(campaign, "lost", reason="payment_expired")]
    html = campaign_html(signed_in, campaign)
    assert badges(html) == ["Buy now"]
    assert re.findall(r'<option value="(\d+)"', html) == ["1"]


def test_campaign_shows_reservations_of_this_campaign_only(
    signed_in: Client, sale_server: SaleServer
) -> None:
    campaign = campaign_made(limit_per_user=1)
    sale_server.mine = [reservation_made(campaign, "won", campaign_id=campaign.pk + 1)]
    assert badges(campaign_html(signed_in, campaign)) == ["Buy now"]


def test_campaign_names_window_zone_and_utc_for_programs(signed_in: Client, shopper: User) -> None:
    shopper.time_zone = "Europe/Berlin"
    shopper.save()
    starts = timezone.now().replace(year=2031, month=1, day=2, hour=11, minute=0, second=4, microsecond=0)
    campaign = campaign_made(starts_in=timedelta(), now=starts)
    html = campaign_html(signed_in, campaign)
    assert '<time datetime="2031-01-02T11:00:04Z">2 Jan 2031, 12:00:04</time>' in html
    assert "<dd>Europe/Berlin</dd>" in html


@pytest.mark.parametrize("published", [True, False])
def test_campaign_that_is_a_draft_or_nothing_is_not_found(client: Client, published: bool) -> None:
    campaign = campaign_made(published=False)
    response = client.get(f"/en/campaigns/{campaign.pk + published}/")
    assert response.status_code == 404
    assert b"There is nothing here" in response.content


def test_closed_campaign_stays_readable(client: Client, sale_server: SaleServer) -> None:
    sale_server.phase = "closed"
    campaign = campaign_made(starts_in=timedelta(hours=-2))
    campaign.sale.phase = SalePhase.CLOSED
    campaign.sale.save()
    assert badges(campaign_html(client, campaign)) == ["Ended"]
