"""Drawn product pictures."""

import re
from xml.etree import ElementTree as ET

import pytest
from django.urls import reverse

from shop.catalog.art import SILHOUETTES, product_art, silhouette_name
from shop.catalog.demo import _variants
from shop.catalog.demo_data import MODELS

DEMO_SLUGS = [slug for model in MODELS for slug, _size, _colour in _variants(model)]


def test_silhouettes_are_the_twelve():
    assert SILHOUETTES == (
        "phone", "headphones", "kettle", "shoe", "lamp", "bag", "chair", "camera", "plant", "watch", "book", "bottle",
    )  # fmt: skip


@pytest.mark.parametrize("slug", [*SILHOUETTES, "bluetooth-thing", "x", "图书", "a" * 80])
def test_art_is_small_valid_square_svg(slug):
    picture = product_art(slug)

    root = ET.fromstring(picture)
    assert len(picture.encode()) <= 3 * 1024
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("viewBox"), root.get("width"), root.get("height")) == ("0 0 400 400", "400", "400")
    assert len(root.findall(".//{*}ellipse")) == 1
    assert len(root.findall(".//{*}stop")) == 2
    assert not re.search(r"<script|style=|href|on\w+=", picture)


def test_art_is_the_same_for_the_same_slug_and_differs_between_slugs():
    assert product_art("phone-a") == product_art("phone-a")
    assert len({product_art(slug) for slug in DEMO_SLUGS}) == len(DEMO_SLUGS)


def test_art_of_one_slug_is_pinned_so_that_pictures_do_not_change_with_a_release():
    assert re.findall(r'stop-color="(.*?)"', product_art("bottle-summit")) == [
        "hsl(112 52% 88%)",
        "hsl(160 46% 76%)",
    ]


@pytest.mark.parametrize(
    ("slug", "name"),
    [
        ("phone-aurora-x-128-gb-black", "phone"),
        ("wireless-headphones", "headphones"),
        ("earbuds-dew-white", "headphones"),
        ("boot-chelsea-40-brown", "shoe"),
        ("backpack-ridge", "bag"),
        ("stool-bar-round", "chair"),
        ("novel-salt-road", "book"),
        ("flask_old_town", "bottle"),
        ("headphonesque", silhouette_name("headphonesque")),
    ],
)
def test_slug_words_choose_the_silhouette(slug, name):
    assert silhouette_name(slug) == name


def test_slugs_without_a_known_word_reach_every_silhouette():
    assert {silhouette_name(f"thing-{number}") for number in range(300)} == set(SILHOUETTES)


def test_demo_products_show_every_silhouette():
    assert {silhouette_name(slug) for slug in DEMO_SLUGS} == set(SILHOUETTES)


def test_art_page_is_svg_that_caches_keep(client):
    answer = client.get(reverse("catalog:art", args=("phone-a",)))

    assert answer.status_code == 200
    assert answer["Content-Type"] == "image/svg+xml"
    assert answer["Cache-Control"] == "public, max-age=604800"
    assert answer.content.decode() == product_art("phone-a")
    assert "Set-Cookie" not in answer
    assert client.post(reverse("catalog:art", args=("phone-a",))).status_code == 405
