"""Roles for every installation; users, products and campaigns for the demo. Each part may run again at any time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import F, QuerySet

from orders.models import SalePhase
from seckill.models import Campaign
from seckill.services.campaigns import campaign_create, campaign_publish
from shop.accounts.models import Address, User
from shop.catalog.demo import demo_catalogue_create
from shop.catalog.models import Product, StockReason
from shop.catalog.selectors import products_by_slug
from shop.catalog.services import stock_change

DEMO_PASSWORD = "flash-demo"  # noqa: S105 - printed on the demo's screen; the users exist nowhere else

_CATALOGUE = (
    "catalog.view_category",
    "catalog.view_product",
    "catalog.view_productfamily",
    "catalog.view_productimage",
)
_ORDERS = (
    "orders.view_order",
    "orders.view_orderline",
    "orders.view_payment",
    "orders.view_refund",
    "orders.view_sale",
)
_CAMPAIGNS = ("seckill.view_campaign", "seckill.view_campaignoperation")

# What one role may not do is absent from its admin, not greyed.
ROLES: dict[str, tuple[str, ...]] = {
    "stock manager": (
        *_CATALOGUE,
        *(
            f"catalog.{act}_{model}"
            for act in ("add", "change")
            for model in ("category", "product", "productfamily")
        ),
        *(f"catalog.{act}_productimage" for act in ("add", "change", "delete")),
        "catalog.view_stockentry",
        "catalog.add_stockentry",
    ),
    "campaign manager": (
        *_CATALOGUE,
        *_CAMPAIGNS,
        "catalog.view_stockentry",
        "orders.view_sale",
        "seckill.add_campaign",
        "seckill.change_campaign",
        "seckill.add_campaignoperation",
    ),
    "order support": (
        *_ORDERS,
        *_CAMPAIGNS,
        "catalog.view_product",
        "accounts.view_user",
        "accounts.view_address",
        "orders.change_order",
        "orders.add_refund",
    ),
    "operator": (
        *_ORDERS,
        *_CAMPAIGNS,
        *_CATALOGUE,
        "catalog.view_stockentry",
        "seckill.add_campaignoperation",
        "orders.view_deadletter",
        "orders.change_deadletter",
    ),
    "auditor": (
        *_ORDERS,
        *_CAMPAIGNS,
        *_CATALOGUE,
        "catalog.view_stockentry",
        "orders.view_deadletter",
        "accounts.view_user",
        "accounts.view_address",
        "auth.view_group",
        "admin.view_logentry",
    ),
}
# User name -> role; None is a shopper or, for `admin`, everything.
DEMO_USERS: dict[str, str | None] = {
    "shopper": None,
    "stock": "stock manager",
    "campaigns": "campaign manager",
    "support": "order support",
    "operator": "operator",
    "admin": None,
}


@dataclass(frozen=True)
class SeedCounts:
    """How many rows were made by one run."""

    roles: int = 0
    users: int = 0
    products: int = 0


@dataclass(frozen=True)
class _DemoCampaign:
    """A campaign that the demo shows; times count from the start of the demo."""

    product_slug: str
    name_zh: str
    name_en: str
    price: Decimal
    allotment: int
    limit_per_user: int
    starts_in: timedelta
    ends_in: timedelta


_LIVE = _DemoCampaign(
    product_slug="headphones-quiet-700-black",
    name_zh="静界 700 降噪耳机 限时抢购",
    name_en="Quiet 700 headphones flash sale",
    price=Decimal("699.00"),
    allotment=2_000,
    limit_per_user=2,
    starts_in=timedelta(0),
    ends_in=timedelta(hours=24),
)
_UPCOMING = _DemoCampaign(
    product_slug="phone-aurora-x-256-gb-black",
    name_zh="极光 X 手机 准点开抢",
    name_en="Aurora X phone drop",
    price=Decimal("2999.00"),
    allotment=500,
    limit_per_user=1,
    starts_in=timedelta(minutes=2),
    ends_in=timedelta(minutes=62),
)
_ENDED = _DemoCampaign(
    product_slug="kettle-quickboil-1-2-l-white",
    name_zh="快沸电热水壶 早市特价",
    name_en="Quickboil kettle morning sale",
    price=Decimal("99.00"),
    allotment=100,
    limit_per_user=1,
    starts_in=timedelta(hours=-3),
    ends_in=timedelta(hours=-2),
)
# A live campaign that is about to end is no use to somebody who has just started the demo.
_LIVE_AT_LEAST = timedelta(minutes=10)
# The home page shows an ended campaign about this long.
_ENDED_AT_MOST = timedelta(hours=20)


def roles_ensure() -> int:
    """Make the staff roles as groups and add permissions that they lack; what an admin added stays.

    Returns how many groups were made.
    :raises ImproperlyConfigured: a permission does not exist, so a role would silently be weaker
    """
    permissions = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    if unknown := {name for names in ROLES.values() for name in names} - permissions.keys():
        raise ImproperlyConfigured(f"Roles name unknown permissions: {', '.join(sorted(unknown))}")
    made = 0
    for role, names in ROLES.items():
        group, created = Group.objects.get_or_create(name=role)
        group.permissions.add(*(permissions[name] for name in names))
        made += created
    return made


def seed_demo(*, now: datetime) -> SeedCounts:
    """Make the demo's roles, users and products where they are missing; nothing that exists is changed.

    now: aware. Campaigns need the sale's Valkey and come from seed_campaigns.
    :raises ImproperlyConfigured: demo data is off
    """
    _require_demo()
    roles = roles_ensure()
    return SeedCounts(roles=roles, users=_users_ensure(now), products=demo_catalogue_create(now=now))


def seed_campaigns(*, now: datetime) -> list[Campaign]:
    """Make sure of one live campaign, one that starts within two minutes and one that has ended.

    now: aware. Returns the campaigns that had to be made: past their time, earlier ones are left as they are.
    :raises ImproperlyConfigured: demo data is off
    """
    _require_demo()
    published = Campaign.objects.filter(published_at__isnull=False)
    actor = User.objects.get(username="campaigns")
    present = (
        (_LIVE, _live(published, now)),
        (_UPCOMING, published.filter(starts_at__gt=now, starts_at__lte=now + _UPCOMING.starts_in)),
        (_ENDED, published.filter(ends_at__lte=now, ends_at__gt=now - _ENDED_AT_MOST)),
    )
    missing = [wanted for wanted, rows in present if not rows.exists()]
    return [_campaign_make(wanted, actor, now) for wanted in missing]


def _require_demo() -> None:
    if not settings.DEMO:
        raise ImproperlyConfigured("Demo data is off here: its users have a password that everybody knows.")


def _live(published: QuerySet[Campaign], now: datetime) -> QuerySet[Campaign]:
    """Return campaigns like the live one in which something can still be bought."""
    return published.filter(
        starts_at__lte=now,
        ends_at__gt=now + _LIVE_AT_LEAST,
        paused_reason="",
        sale__phase=SalePhase.OPEN,
        sale__allotment__gte=_LIVE.allotment,
        sale__sold__lt=F("sale__allotment"),
    )


def _campaign_make(wanted: _DemoCampaign, actor: User, now: datetime) -> Campaign:
    product = products_by_slug(slugs=[wanted.product_slug])[wanted.product_slug]
    _stock_up(product, wanted.allotment, now)
    campaign = campaign_create(
        product_id=product.pk,
        name_zh=wanted.name_zh,
        name_en=wanted.name_en,
        starts_at=now + wanted.starts_in,
        ends_at=now + wanted.ends_in,
        price=wanted.price,
        limit_per_user=wanted.limit_per_user,
        allotment=wanted.allotment,
    )
    return campaign_publish(campaign_id=campaign.pk, actor=actor, now=now)


def _stock_up(product: Product, allotment: int, now: datetime) -> None:
    """Receive what the campaign will take out of the stock, so that the ordinary stock stays as it was."""
    if product.stock < allotment:
        stock_change(
            product_id=product.pk,
            delta=allotment,
            reason=StockReason.RECEIVED,
            reference="demo-campaign",
            now=now,
        )


def _users_ensure(now: datetime) -> int:
    """Make the demo's users where they are missing and return how many were made."""
    known = set(User.objects.filter(username__in=DEMO_USERS).values_list("username", flat=True))
    missing = [name for name in DEMO_USERS if name not in known]
    # Before the transaction: hashing takes tens of milliseconds a user.
    hashes = {name: make_password(DEMO_PASSWORD) for name in missing}
    with transaction.atomic():
        for name in missing:
            _user_make(name, hashes[name], now)
    return len(missing)


def _user_make(name: str, password_hash: str, now: datetime) -> None:
    role = DEMO_USERS[name]
    user = User.objects.create(
        username=name,
        email=f"{name}@example.com",
        password=password_hash,
        is_staff=name != "shopper",
        is_superuser=name == "admin",
        date_joined=now,
    )
    if role is not None:
        user.groups.add(Group.objects.get(name=role))
    if name == "shopper":
        Address.objects.create(
            user=user,
            recipient="林小梅",
            phone="138 0000 0000",
            region="上海市 徐汇区",
            street="漕溪北路 88 号 1203 室",
            postal_code="200030",
            is_default=True,
        )
