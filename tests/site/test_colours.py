"""The contrast of every colour role, computed from the stylesheet."""

import re

import pytest
from django.conf import settings

TOKENS = (settings.BASE_DIR / "static" / "css" / "tokens.css").read_text()
GROUNDS = ("bg", "surface", "sunken")
TEXT, SHAPE = 4.5, 3.0  # WCAG 2.2 AA


def roles(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


LIGHT, DARK = (roles(block) for block in TOKENS.split("@media (prefers-color-scheme: dark)"))


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_both_themes_name_the_same_roles() -> None:
    assert set(DARK) == set(LIGHT)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("role", ["ink", "ink-2", "ink-3", "accent", "success", "warning", "danger", "info"])
def test_text_can_be_read_on_every_ground_and_on_its_own_soft_one(theme: dict[str, str], role: str) -> None:
    grounds = [theme[name] for name in (*GROUNDS, f"{role}-soft") if name in theme]
    assert min(contrast(theme[role], ground) for ground in grounds) >= TEXT


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_button_text_borders_and_focus_can_be_seen(theme: dict[str, str]) -> None:
    assert contrast(theme["on-accent"], theme["accent"]) >= TEXT
    assert contrast(theme["on-accent"], theme["accent-hover"]) >= TEXT
    for role in ("control", "focus"):
        assert min(contrast(theme[role], theme[ground]) for ground in GROUNDS) >= SHAPE
