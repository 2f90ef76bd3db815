"""A shopper's whole way with JavaScript off: register, campaign, reserve, outcome, pay."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from orders.consumer import Consumer
from orders.models import Order, OrderStatus
from orders.tasks import place_orders
from seckill.conservation import conservation
from seckill.models import Campaign
from seckill.outbox import StreamSource
from seckill.services.campaigns import campaign_create, campaign_publish
from seckill.services.reconciliation import server_verify
from seckill.services.reservations import process_gate
from seckill.store import sale_store, unverified_store
from tests.seckill.making import product_made
from tests.services.valkey import ValkeyServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


def _place(**facts: Any) -> None:
    """Decide entries as the worker does, and leave no connection of the thread behind."""
    try:
        place_orders(**facts)
    finally:
        connection.close()


@pytest.fixture
def sale(valkey_server: ValkeyServer, transactional_db: None) -> Iterator[Campaign]:
    """Yield a live campaign of five units, two a person, with everything behind it running."""
    valkey_server.clear()
    process_gate.cache_clear()
    now = timezone.now()
    assert server_verify(store=unverified_store(), now=now) == []
    campaign = campaign_create(
        product_id=product_made(stock=20).pk,
        name_zh="水壶秒杀",
        name_en="Kettle sale",
        starts_at=now - timedelta(minutes=1),
        ends_at=now + timedelta(hours=1),
        price=Decimal("1299.00"),
        limit_per_user=2,
        allotment=5,
    )
    campaign_publish(campaign_id=campaign.pk, now=now)
    consumer = Consumer(StreamSource(sale_store()), _place, on_death=lambda: None)
    consumer.start()
    yield Campaign.objects.select_related("sale").get(pk=campaign.pk)
    consumer.terminate()
    consumer.join(timeout=10)
    assert not consumer.is_alive()


@pytest.fixture
def page(chromium: "Browser") -> Iterator["Page"]:
    """Yield a page without JavaScript that fails on any message in its console."""
    context = chromium.new_context(java_script_enabled=False, locale="en-US")
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    yield page
    context.close()
    assert complaints == []


def register(page: "Page", base: str) -> None:
    page.goto(f"{base}/en/account/register/")
    for field in page.locator("main form .field input").all():
        name = field.get_attribute("name") or ""
        kind = field.get_attribute("type")
        field.fill(
            "ada@example.com" if "mail" in name else "flash-demo-2031" if kind == "password" else "ada"
        )
    page.locator("main form button[type=submit]").click()


def reserve(page: "Page", base: str, campaign: Campaign, quantity: str) -> None:
    page.goto(f"{base}/en/campaigns/{campaign.pk}/")
    page.get_by_label("Quantity").select_option(quantity)
    page.get_by_role("button", name="Buy now").click()
    page.wait_for_url(re.compile(rf"/en/reservations/{campaign.pk}-[a-z2-7]{{26}}/$"))


def test_shopper_registers_reserves_and_pays_without_javascript(
    page: "Page", live_server: Any, sale: Campaign
) -> None:
    register(page, live_server.url)
    reserve(page, live_server.url, sale, "2")
    page.get_by_role("heading", name="It's yours").wait_for(timeout=15_000)
    order = Order.objects.get()
    assert (order.status, order.units, order.total) == (OrderStatus.PENDING, 2, Decimal("2598.00"))
    page.get_by_role("link", name="Pay").click()
    page.locator("input[name=outcome][value=success]").check()
    page.get_by_role("button", name="Pay ¥2,598.00").click()
    page.wait_for_url(f"{live_server.url}/en/orders/{order.number}/")
    order.refresh_from_db()
    assert order.status == OrderStatus.PAID
    equation = conservation(campaign_id=sale.pk)
    assert (equation.left, equation.paid, equation.residue, equation.problems) == (3, 2, 0, [])


def test_going_back_and_pressing_again_buys_nothing_twice(
    page: "Page", live_server: Any, sale: Campaign
) -> None:
    register(page, live_server.url)
    reserve(page, live_server.url, sale, "1")
    first = page.url
    page.go_back()
    page.get_by_role("button", name="Buy now").click()
    page.wait_for_url(first)
    page.get_by_role("heading", name="It's yours").wait_for(timeout=15_000)
    assert Order.objects.get().units == 1
    assert conservation(campaign_id=sale.pk).left == 4
