"""Home, languages, time zones, error pages, probes and the operators' page."""

import re
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import get_template
from django.test import Client, RequestFactory
from django.utils import timezone, translation

from seckill.conservation import Equation
from seckill.health import SaleHealth
from shop.accounts.models import User
from shop.site import health, ops
from shop.site.templatetags.shop_money import money
from shop.site.time_zone import ShopperTimeZoneMiddleware, shopper_zone
from tests.seckill.making import campaign_made, product_made

HEALTHY = SaleHealth(verified=True, problem="")
SALE_LOST = SaleHealth(verified=False, problem="Valkey does not answer: gone")
ORDERS_LOST = SaleHealth(verified=True, problem="", oldest_entry_age_seconds=61.0)


# ---- money and time ----


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (Decimal(1299), "CNY", "¥1,299.00"),
        ("0.5", "CNY", "¥0.50"),
        (Decimal("-1234567.8"), "CNY", "-¥1,234,567.80"),
        (Decimal(12), "USD", "USD 12.00"),
    ],
)
def test_money_is_written_the_same_in_every_language(amount: Decimal | str, currency: str, text: str) -> None:
    for language in ("zh-hans", "en"):
        with translation.override(language):
            assert money(amount, currency) == text


def test_money_refuses_floats() -> None:
    with pytest.raises(TypeError):
        money(12.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, "", "Nowhere/Else", "../etc", "Asia"])
def test_zone_that_is_missing_or_wrong_is_the_shops(name: str | None) -> None:
    assert shopper_zone(name) == ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("path", "user", "zone"),
    [
        ("/en/", AnonymousUser(), "Asia/Shanghai"),
        ("/en/", SimpleNamespace(is_authenticated=True, time_zone="Europe/Berlin"), "Europe/Berlin"),
        ("/api/v1/time/", SimpleNamespace(is_authenticated=True, time_zone="Europe/Berlin"), "UTC"),
    ],
)
def test_zone_is_the_accounts_on_pages_and_utc_in_the_api(path: str, user: Any, zone: str) -> None:
    seen = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(str(timezone.get_current_timezone()))
        return HttpResponse()

    request = RequestFactory().get(path)
    request.user = user
    ShopperTimeZoneMiddleware(view)(request)
    assert seen == [zone]
    assert str(timezone.get_current_timezone()) == "UTC"


# ---- home and languages ----


@pytest.mark.django_db
def test_home_shows_live_campaigns_before_upcoming_ones_and_products(client: Client) -> None:
    product = product_made(slug="lamp")
    upcoming = campaign_made(product=product, starts_in=timedelta(hours=1))
    live = campaign_made(product=product)
    draft = campaign_made(product=product, published=False)
    html = client.get("/en/").content.decode()
    links = re.findall(r'href="/en/campaigns/(\d+)/"', html)
    assert links == [str(live.pk), str(upcoming.pk)]
    assert str(draft.pk) not in links
    assert html.index("On now") < html.index("Starting soon") < html.index(">Products<")
    assert 'src="/art/lamp.svg"' in html
    assert "¥1,599.00" in html


@pytest.mark.django_db
def test_home_without_campaigns_says_so(client: Client) -> None:
    html = client.get("/en/").content.decode()
    assert "No flash sale is running now." in html
    assert "Starting soon" not in html


@pytest.mark.django_db
@pytest.mark.parametrize(("accepts", "target"), [("en", "/en/"), ("zh-CN", "/zh-hans/"), ("fr", "/zh-hans/")])
def test_bare_address_goes_to_a_language(client: Client, accepts: str, target: str) -> None:
    response = client.get("/", headers={"accept-language": accepts})
    assert response.status_code == 302
    assert response["Location"] == target


@pytest.mark.django_db
@pytest.mark.parametrize(("language", "other"), [("en", "zh-hans"), ("zh-hans", "en")])
def test_language_form_leads_to_the_same_page_in_the_other_language(
    client: Client, language: str, other: str
) -> None:
    """A cookie of the first language must not keep the page in it."""
    client.cookies["django_language"] = other
    html = client.get(f"/{language}/?page=2").content.decode()
    assert f'<html lang="{language}">' in html
    action = re.search(r'action="([^"]+)" aria-label', html)
    following = re.search(r'name="next" value="([^"]+)"', html)
    assert action
    assert following
    response = client.post(action[1], {"language": other, "next": following[1]})
    assert response["Location"] == f"/{other}/?page=2"
    assert response.cookies["django_language"].value == other


@pytest.mark.django_db
def test_every_page_has_landmarks_skip_link_and_no_inline_code(client: Client) -> None:
    html = client.get("/en/").content.decode()
    for part in ('href="#main"', '<main id="main"', "<header", "<footer", "<nav", '<meta name="viewport"'):
        assert part in html
    assert not re.search(r"<script|<style| style=| on\w+=", html)


@pytest.mark.django_db
def test_header_offers_logging_in_or_out(client: Client) -> None:
    signed_out = client.get("/en/").content.decode()
    assert 'href="/en/account/login/"' in signed_out
    client.force_login(User.objects.create_user("ada", "ada@example.com", "flash-demo"))
    signed_in = client.get("/en/").content.decode()
    assert 'action="/en/account/logout/"' in signed_in
    assert 'href="/en/orders/"' in signed_in
    assert "/ops/sales/" not in signed_in


# ---- errors ----


@pytest.mark.django_db
def test_unknown_address_is_our_404_with_an_id_to_quote(client: Client) -> None:
    response = client.get("/en/nowhere/", headers={"x-request-id": "quote-me-12345"})
    assert response.status_code == 404
    assert b"There is nothing here" in response.content
    assert b"quote-me-12345" in response.content


@pytest.mark.parametrize("name", ["400.html", "500.html"])
def test_page_of_a_fault_needs_neither_context_nor_database(name: str) -> None:
    with translation.override("en"):
        html = get_template(name).render()
    assert '<html lang="en">' in html
    assert 'href="/"' in html


@pytest.mark.django_db
def test_fault_in_a_view_is_our_500(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**facts: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("shop.site.views.campaigns_public", fail)
    client.raise_request_exception = False
    response = client.get("/en/", headers={"x-request-id": "quote-me-12345"})
    assert response.status_code == 500
    assert b"Something went wrong on our side" in response.content
    assert b"quote-me-12345" in response.content


# ---- probes ----


def test_livez_answers_without_the_database(client: Client) -> None:
    response = client.get("/livez")
    assert response.status_code == 200
    assert response.json() == {"status": "ok"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("found", "degraded", "status"),
    [(HEALTHY, [], "ok"), (SALE_LOST, ["sale"], "degraded"), (ORDERS_LOST, ["orders"], "degraded")],
)
def test_readyz_stays_up_while_something_is_degraded(
    client: Client, monkeypatch: pytest.MonkeyPatch, found: SaleHealth, degraded: list[str], status: str
) -> None:
    monkeypatch.setattr(health, "sale_health", lambda: found)
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": status, "degraded": degraded}


def test_readyz_is_503_without_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(health, "connection", SimpleNamespace(cursor=refuse))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "missing": ["database"]}


# ---- the operators' page ----


def equation_made(**facts: Any) -> Equation:
    values: dict[str, Any] = {
        "campaign_id": 7,
        "name": "Kettle sale",
        "allotment": 50,
        "left": 30,
        "reserved": 5,
        "unpaid": 7,
        "paid": 6,
        "returning": 2,
        "handed_back": 0,
        "in_motion": 0,
        "residue": 0,
        "problems": [],
    }
    return Equation(**{**values, **facts})


@pytest.fixture
def staff(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(ops, "sale_health", lambda **_: HEALTHY)
    client.force_login(User.objects.create_user("olga", "olga@example.com", "flash-demo", is_staff=True))
    return client


@pytest.mark.django_db
def test_ops_page_is_for_staff_alone(client: Client) -> None:
    response = client.get("/ops/sales/", headers={"accept-language": "en"})
    assert response["Location"] == "/en/account/login/?next=/ops/sales/"
    client.force_login(User.objects.create_user("ada", "ada@example.com", "flash-demo"))
    assert client.get("/ops/sales/").status_code == 403
    request = RequestFactory().get("/ops/sales/")
    request.user = User.objects.get(username="ada")
    with pytest.raises(PermissionDenied):
        ops.sales(request)


@pytest.mark.django_db
def test_ops_page_shows_the_equation_as_a_sum(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "conservation_all", lambda: [equation_made()])
    html = staff.get("/ops/sales/", headers={"accept-language": "en"}).content.decode()
    assert re.findall(r"<b>(\d+)</b>", html) == ["50", "30", "5", "7", "6", "2", "0"]
    assert "✓ adds up" in html
    assert '<meta http-equiv="refresh" content="5">' in html
    assert "as of" in html


@pytest.mark.django_db
@pytest.mark.parametrize(("facts", "residue"), [({"residue": -3}, "-3"), ({"problems": ["7-abc"]}, "0")])
def test_ops_page_names_what_does_not_add_up(
    staff: Client, monkeypatch: pytest.MonkeyPatch, facts: dict, residue: str
) -> None:
    monkeypatch.setattr(ops, "conservation_all", lambda: [equation_made(**facts)])
    html = staff.get("/ops/sales/", headers={"accept-language": "en"}).content.decode()
    assert f"✗ residue {residue}" in html
    assert "adds up" not in html
    for problem in facts.get("problems", []):
        assert f"<code>{problem}</code>" in html


@pytest.mark.django_db
def test_ops_page_says_when_nobody_decides(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "conservation_all", list)
    monkeypatch.setattr(ops, "sale_health", lambda **_: ORDERS_LOST)
    html = staff.get("/ops/sales/", headers={"accept-language": "en"}).content.decode()
    assert "Nobody is deciding reservations." in html
    assert "The oldest has waited 61 s" in html
    assert "All quiet" not in html


@pytest.mark.django_db
def test_ops_page_says_when_nothing_can_be_added_up(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(ops, "conservation_all", refuse)
    monkeypatch.setattr(ops, "sale_health", lambda **_: SALE_LOST)
    html = staff.get("/ops/sales/", headers={"accept-language": "en"}).content.decode()
    assert "nothing can be added up now" in html
    assert "Valkey does not answer: gone" in html
    assert "No campaign is published." not in html
