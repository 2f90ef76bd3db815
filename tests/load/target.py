"""Where the load goes: the shop's address and processes, the campaign, the accounts and their tokens."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

from django.contrib.auth import get_user_model
from django.utils import timezone

from seckill.models import Campaign
from seckill.services.campaigns import campaign_create, campaign_publish
from shop.catalog.models import Category, Product, StockReason
from shop.catalog.services import stock_change
from shop.site.demo_state import DemoState
from shop.site.load_accounts import access_tokens, load_accounts_allowed, load_accounts_ensure
from tests.load.options import Options
from tests.load.shop_api import ShopApi

DEFAULT_URL = "http://127.0.0.1:8000"
PRICE = Decimal("9.90")
SLUG = "load-test"
LIVE_SECONDS = 15.0
# Tokens and campaign outlive the sending, the settling and a slow start.
SPARE_SECONDS = 900


class NotReady(RuntimeError):
    """The run cannot start; the message says what to do."""


@dataclass(frozen=True)
class Target:
    """Everything a run is aimed at. `user_ids` and `tokens` are parallel; `fresh`: made for this run."""

    url: str
    campaign_id: int
    fresh: bool
    user_ids: list[int]
    tokens: list[str]
    pids: Mapping[str, int] = field(default_factory=dict)


def shop_url(options: Options, demo: DemoState | None) -> str:
    """Return the address to send to, without a slash at the end."""
    return (options.url or (demo.url if demo else DEFAULT_URL)).rstrip("/")


def server_pids(options: Options, demo: DemoState | None, url: str) -> dict[str, int]:
    """Return the server processes to measure: those named, and the demo's when the load goes to it."""
    found = {f"pid {pid}": pid for pid in options.pids}
    if demo is not None and urlsplit(url).port == demo.port:
        found.update({process.name: process.pid for process in demo.processes if process.pid})
    return found


def target_prepare(options: Options, demo: DemoState | None) -> Target:
    """Make accounts, tokens and, unless one was named, a campaign; wait until the shop says it is live.

    :raises NotReady: the campaign is not there, or not live in time, or load accounts are not allowed here
    """
    if not load_accounts_allowed(outside_demo=options.allow_outside_demo):
        raise NotReady("Demo data is off here. --allow-outside-demo makes load accounts all the same.")
    url = shop_url(options, demo)
    user_ids = load_accounts_ensure(options.accounts)
    ttl_seconds = int(options.seconds + options.settle_seconds) + SPARE_SECONDS
    tokens = access_tokens(user_ids=user_ids, ttl_seconds=ttl_seconds, now=timezone.now())
    fresh = options.campaign is None
    campaign_id = campaign_make(options) if options.campaign is None else _existing(options.campaign)
    _wait_live(url, campaign_id)
    pids = server_pids(options, demo, url)
    return Target(url=url, campaign_id=campaign_id, fresh=fresh, user_ids=user_ids, tokens=tokens, pids=pids)


def campaign_make(options: Options) -> int:
    """Make and publish a campaign that is live at once and return its id."""
    now = timezone.now()
    actor = get_user_model().objects.filter(is_superuser=True).order_by("pk").first()
    product = _product()
    stock_change(
        product_id=product.pk,
        delta=options.units,
        reason=StockReason.RECEIVED,
        actor=actor,
        note="load test",
        now=now,
    )
    campaign = campaign_create(
        product_id=product.pk,
        name_zh="压力测试",
        name_en="Load test",
        starts_at=now,
        ends_at=now + timedelta(seconds=options.seconds + options.settle_seconds + SPARE_SECONDS),
        price=PRICE,
        limit_per_user=options.limit,
        allotment=options.units,
    )
    campaign_publish(campaign_id=campaign.pk, actor=actor, now=timezone.now())
    return int(campaign.pk)


def _product() -> Product:
    found = Product.objects.filter(slug=SLUG).first()
    if found is not None:
        return found
    category = Category.objects.filter(slug=SLUG).first()
    if category is None:
        category = Category.objects.add_root({"name_zh": "压力测试", "name_en": "Load test", "slug": SLUG})
    return Product.objects.create(
        slug=SLUG, category=category, name_zh="压力测试商品", name_en="Load test product", price=PRICE * 2
    )


def _existing(campaign_id: int) -> int:
    if not Campaign.objects.filter(pk=campaign_id, published_at__isnull=False).exists():
        raise NotReady(
            f"Campaign {campaign_id} is not there or not published in the database of these settings."
        )
    return campaign_id


def _wait_live(url: str, campaign_id: int) -> None:
    api, deadline, state = ShopApi(url), time.monotonic() + LIVE_SECONDS, "unknown to it"
    try:
        while True:
            live = api.live(campaign_id)
            state = str(live.get("state")) if live else state
            if state == "live":
                return
            if time.monotonic() > deadline:
                raise NotReady(f"{url} says that campaign {campaign_id} is {state}, not live.")
            time.sleep(0.1)
    except OSError as error:
        raise NotReady(
            f"{url} does not answer: {error}. Is the shop running? `make demo` starts it."
        ) from error
    finally:
        api.close()
