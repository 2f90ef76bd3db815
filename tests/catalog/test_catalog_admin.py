"""The catalogue in the admin: stock by signed change only, the ledger by nobody."""

from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from shop.accounts.models import User
from shop.catalog.models import Category, Product, StockEntry
from shop.catalog.services import stock_change

pytestmark = pytest.mark.django_db


@pytest.fixture
def product():
    category = Category.objects.add_root({"name_zh": "杯壶", "name_en": "Drinkware", "slug": "drinkware"})
    product = Product.objects.create(
        name_zh="保温杯", name_en="Bottle", slug="bottle-a", category=category, price=Decimal("129.00")
    )
    stock_change(product_id=product.pk, delta=44, reason="received", note="first", now=timezone.now())
    product.refresh_from_db()
    return product


@pytest.fixture
def staff(client):
    """Return a client of a member of staff with the named permissions."""

    def log_in(*codenames):
        user = User.objects.create_user("staff", "staff@example.com", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        assert user.user_permissions.count() == len(codenames)
        client.force_login(user)
        client.cookies["django_language"] = "en"
        return client

    return log_in


@pytest.fixture
def stock_staff(staff):
    return staff("view_product", "add_stockentry", "view_stockentry")


def address(product):
    return reverse("admin:catalog_product_change_stock", args=(product.pk,))


def posted(**changes):
    return {
        "delta": "-3",
        "reason": "damaged",
        "note": "wet",
        "reference": "D-7",
        "expected_stock": "44",
    } | changes


def assert_unchanged(product):
    product.refresh_from_db()
    assert product.stock == 44
    assert StockEntry.objects.count() == 1


def test_change_stock_page_shows_stock_form_and_latest_changes(stock_staff, product):
    html = stock_staff.get(address(product)).content.decode()

    assert "<strong>44</strong>" in html
    assert '<input type="hidden" name="expected_stock" value="44"' in html
    assert "0 → 44" in html
    main = html.partition('id="content-main"')[2]
    assert " style=" not in main
    assert "<script" not in main.partition("</form>")[0]


def test_change_stock_changes_by_the_amount_and_says_so(stock_staff, product):
    answer = stock_staff.post(address(product), posted(), follow=True)

    product.refresh_from_db()
    entry = StockEntry.objects.latest("id")
    assert answer.redirect_chain == [(reverse("admin:catalog_product_change", args=(product.pk,)), 302)]
    assert "Stock 44 → 41" in answer.content.decode()
    assert product.stock == 41
    assert (entry.delta, entry.reason, entry.note, entry.reference) == (-3, "damaged", "wet", "D-7")
    assert entry.actor == User.objects.get(username="staff")


def test_change_stock_is_refused_when_stock_moved_and_shows_both_numbers(stock_staff, product):
    stock_change(product_id=product.pk, delta=-4, reason="campaign", now=timezone.now())

    answer = stock_staff.post(address(product), posted())

    html = answer.content.decode()
    product.refresh_from_db()
    assert answer.status_code == 409
    assert "the stock was 44 when the form opened and is 40 now" in html
    assert '<input type="hidden" name="expected_stock" value="40"' in html
    assert 'value="D-7"' in html
    assert product.stock == 40
    assert StockEntry.objects.count() == 2

    again = stock_staff.post(address(product), posted(expected_stock="40"))
    product.refresh_from_db()
    assert (again.status_code, product.stock) == (302, 37)


def test_change_stock_is_refused_below_zero(stock_staff, product):
    answer = stock_staff.post(address(product), posted(delta="-45"))

    assert answer.status_code == 409
    assert list(answer.context["form"].errors) == ["delta"]
    assert_unchanged(product)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"delta": "0"}, "delta"),
        ({"delta": ""}, "delta"),
        ({"delta": "1000000001"}, "delta"),
        ({"reason": "whim"}, "reason"),
        ({"reason": "other", "note": ""}, "note"),
        ({"expected_stock": ""}, "expected_stock"),
        ({"note": "n" * 201}, "note"),
    ],
)
def test_change_stock_refuses_bad_values(stock_staff, product, changes, field):
    answer = stock_staff.post(address(product), posted(**changes))

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert_unchanged(product)


@pytest.mark.parametrize(
    "codenames",
    [("view_product", "change_product", "view_stockentry"), ("add_stockentry", "view_stockentry")],
)
def test_change_stock_needs_its_permission(staff, product, codenames):
    client = staff(*codenames)

    assert client.get(address(product)).status_code == 403
    assert client.post(address(product), posted()).status_code == 403
    assert_unchanged(product)


def test_change_stock_of_an_unknown_product_is_not_found(stock_staff, product):
    assert stock_staff.get(f"/admin/catalog/product/{product.pk + 1}/change-stock/").status_code == 404


def test_change_stock_link_is_absent_without_its_permission(staff, product):
    client = staff("view_product")

    html = client.get(reverse("admin:catalog_product_change", args=(product.pk,))).content.decode()

    assert address(product) not in html


def test_product_form_shows_stock_and_does_not_take_it(admin_client, product):
    change = reverse("admin:catalog_product_change", args=(product.pk,))
    values = {
        "name_zh": "保温杯", "name_en": "Flask", "slug": "bottle-a", "category": product.category_id, "options": "{}",
        "price": "129.00", "currency": "CNY", "stock": "9999", "low_stock": "5", "limit_per_order": "10",
        "is_active": "on", "images-TOTAL_FORMS": "0", "images-INITIAL_FORMS": "0",
    }  # fmt: skip

    shown = admin_client.get(change).content.decode()
    answer = admin_client.post(change, values)

    assert 'name="stock"' not in shown
    assert address(product) in shown
    assert answer.status_code == 302
    product.refresh_from_db()
    assert (product.name_en, product.stock) == ("Flask", 44)


def test_ledger_can_be_read_but_not_written_even_by_a_superuser(admin_client, product):
    entry = StockEntry.objects.get()
    change = reverse("admin:catalog_stockentry_change", args=(entry.pk,))

    assert admin_client.get(reverse("admin:catalog_stockentry_changelist")).status_code == 200
    assert admin_client.get(change).status_code == 200
    assert admin_client.get(reverse("admin:catalog_stockentry_add")).status_code == 403
    assert admin_client.post(change, {"note": "forged"}).status_code == 403
    assert (
        admin_client.post(
            reverse("admin:catalog_stockentry_delete", args=(entry.pk,)), {"post": "yes"}
        ).status_code
        == 403
    )
    assert StockEntry.objects.get().note == "first"


def test_product_with_a_ledger_cannot_be_deleted(admin_client, product):
    admin_client.post(reverse("admin:catalog_product_delete", args=(product.pk,)), {"post": "yes"})

    assert_unchanged(product)


def test_ledger_list_asks_the_database_as_often_for_more_rows(
    admin_client, product, django_assert_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    page = reverse("admin:catalog_stockentry_changelist")
    admin_client.get(page)
    with CaptureQueriesContext(connection) as one:
        admin_client.get(page)
    for _number in range(2):
        admin = User.objects.get(username="admin")
        stock_change(product_id=product.pk, delta=1, reason="count", actor=admin, now=timezone.now())
    with django_assert_num_queries(len(one)):
        admin_client.get(page)


def test_category_admin_makes_a_child(admin_client, product):
    parent = Category.objects.get(slug="drinkware")

    answer = admin_client.post(
        reverse("admin:catalog_category_add"),
        {
            "name_zh": "杯", "name_en": "Cups", "slug": "cups",
            "_position": "sorted-child" if Category.node_order_by else "first-child", "_ref_node_id": parent.pk,
            "treebeard_position": "first-child", "treebeard_ref_node": parent.pk,
        },
    )  # fmt: skip

    assert answer.status_code == 302
    assert Category.objects.get(slug="cups").path.startswith(parent.path)
    assert admin_client.get(reverse("admin:catalog_category_changelist")).status_code == 200
