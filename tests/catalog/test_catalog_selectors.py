"""Reads of the catalogue."""

from decimal import Decimal

import pytest

from shop.catalog.models import Category, Product, ProductFamily
from shop.catalog.selectors import products_by_slug, products_home

pytestmark = pytest.mark.django_db


@pytest.fixture
def make():
    category = Category.objects.add_root({"name_zh": "杯壶", "name_en": "Drinkware", "slug": "drinkware"})

    def product(slug, **changes):
        values = {"name_zh": slug, "name_en": slug, "slug": slug, "price": Decimal("1.00"), "stock": 5}
        return Product.objects.create(category=category, **(values | changes))

    return product


def test_products_home_shows_the_newest_that_can_be_bought_one_of_a_family(make):
    family = ProductFamily.objects.create(name_zh="f", name_en="f", slug="f")
    make("old")
    make("family-a", family=family)
    make("family-b", family=family)
    make("gone", is_active=False)
    make("empty", stock=0)
    make("new")

    assert [product.slug for product in products_home(limit=3)] == ["new", "family-b", "old"]
    assert [product.slug for product in products_home(limit=1)] == ["new"]


@pytest.mark.parametrize("count", [1, 3])
def test_products_home_asks_the_database_as_often_for_more_products(make, count, django_assert_num_queries):
    for number in range(count):
        make(f"p{number}")

    with django_assert_num_queries(2):
        assert len([product.category.slug for product in products_home()]) == count


def test_products_by_slug_leaves_unknown_slugs_out(make):
    product = make("here")

    assert products_by_slug(slugs=["here", "not-here"]) == {"here": product}
