"""Draws a product as SVG from its slug alone: the same slug, the same picture, for ever."""

import hashlib
import re

# Each silhouette stands on the line y = 310 of a 400 x 400 ground. {b} body, {d} its dark side, {l} its light.
_SILHOUETTES: dict[str, str] = {
    "phone": '<rect x="145" y="80" width="110" height="230" rx="20" fill="{b}"/>'
    '<rect x="155" y="98" width="90" height="180" rx="6" fill="{l}"/>'
    '<circle cx="200" cy="294" r="7" fill="{d}"/><rect x="184" y="87" width="32" height="5" rx="2" fill="{d}"/>',
    "headphones": '<path d="M110 225v-25a90 90 0 0 1 180 0v25" fill="none" stroke="{b}" stroke-width="20"/>'
    '<rect x="92" y="208" width="52" height="102" rx="24" fill="{d}"/>'
    '<rect x="256" y="208" width="52" height="102" rx="24" fill="{d}"/>'
    '<rect x="128" y="216" width="16" height="86" rx="8" fill="{l}"/>'
    '<rect x="256" y="216" width="16" height="86" rx="8" fill="{l}"/>',
    "kettle": '<path d="M140 170h120l26 140H114z" fill="{b}"/>'
    '<path d="M262 182l50-34 8 14-48 60z" fill="{d}"/>'
    '<path d="M146 168a54 54 0 0 1 108 0z" fill="{d}"/><circle cx="200" cy="108" r="11" fill="{b}"/>'
    '<path d="M138 190c-66 0-66 84-16 92" fill="none" stroke="{d}" stroke-width="16"/>'
    '<path d="M160 186h18l-10 108h-22z" fill="{l}"/>',
    "shoe": '<path d="M82 292c0-44 8-88 18-112 24 22 56 22 74 2 22 40 62 62 112 70 26 4 36 18 36 40z" fill="{b}"/>'
    '<rect x="76" y="288" width="250" height="22" rx="10" fill="{l}"/>'
    '<path d="M182 216l30-18M202 234l28-20M224 248l26-20" stroke="{l}" stroke-width="8" stroke-linecap="round"/>'
    '<path d="M92 228c24 16 60 16 84 6" fill="none" stroke="{d}" stroke-width="10"/>',
    "lamp": '<path d="M152 90h96l44 96H108z" fill="{b}"/><rect x="193" y="186" width="14" height="108" fill="{d}"/>'
    '<rect x="146" y="292" width="108" height="18" rx="9" fill="{d}"/>'
    '<path d="M164 104h18l-18 68h-28z" fill="{l}"/><circle cx="232" cy="212" r="6" fill="{d}"/>'
    '<path d="M232 186v22" stroke="{d}" stroke-width="3"/>',
    "bag": '<path d="M150 170v-24a50 50 0 0 1 100 0v24" fill="none" stroke="{d}" stroke-width="14"/>'
    '<path d="M112 162h176l18 148H94z" fill="{b}"/><path d="M110 178h180l4 34H106z" fill="{d}"/>'
    '<rect x="184" y="196" width="32" height="36" rx="6" fill="{l}"/>',
    "chair": '<rect x="136" y="84" width="128" height="108" rx="22" fill="{b}"/>'
    '<rect x="152" y="100" width="20" height="76" rx="10" fill="{l}"/>'
    '<rect x="124" y="206" width="152" height="30" rx="14" fill="{d}"/>'
    '<path d="M144 188v24M256 188v24M142 234l-16 76M258 234l16 76" stroke="{d}" stroke-width="14"/>',
    "camera": '<path d="M158 156l14-28h56l14 28z" fill="{d}"/>'
    '<rect x="86" y="154" width="228" height="156" rx="22" fill="{b}"/>'
    '<circle cx="200" cy="234" r="58" fill="{d}"/><circle cx="200" cy="234" r="38" fill="{l}"/>'
    '<circle cx="200" cy="234" r="20" fill="{d}"/><rect x="262" y="172" width="32" height="18" rx="6" fill="{l}"/>',
    "plant": '<path d="M144 240h112l-16 70h-80z" fill="{b}"/><rect x="136" y="226" width="128" height="22" rx="8" fill="{l}"/>'
    '<path d="M198 228c-12-50-50-72-84-70 4 44 40 70 84 70zM202 228c12-50 50-72 84-70-4 44-40 70-84 70z'
    'M200 228c-34-50-30-106 0-138 30 32 34 88 0 138z" fill="{d}"/>'
    '<path d="M200 228v-104" stroke="{l}" stroke-width="5"/>',
    "watch": '<path d="M164 80h72l8 70h-88zM156 240h88l-8 70h-72z" fill="{d}"/>'
    '<rect x="136" y="132" width="128" height="126" rx="40" fill="{b}"/>'
    '<circle cx="200" cy="195" r="46" fill="{l}"/><rect x="262" y="184" width="14" height="22" rx="5" fill="{d}"/>'
    '<path d="M200 166v30l22 14" fill="none" stroke="{d}" stroke-width="8" stroke-linecap="round"/>',
    "book": '<path d="M122 96h144a16 16 0 0 1 16 16v198H138a16 16 0 0 1-16-16z" fill="{b}"/>'
    '<path d="M138 282h144v28H138a14 14 0 0 1 0-28z" fill="{l}"/><rect x="122" y="96" width="22" height="188" fill="{d}"/>'
    '<rect x="168" y="136" width="88" height="14" rx="7" fill="{l}"/>'
    '<rect x="168" y="164" width="58" height="10" rx="5" fill="{l}"/>',
    "bottle": '<rect x="176" y="76" width="48" height="38" rx="8" fill="{d}"/>'
    '<path d="M180 112h40v18c30 12 38 30 38 56v104a20 20 0 0 1-20 20h-76a20 20 0 0 1-20-20V186c0-26 8-44 38-56z" fill="{b}"/>'
    '<rect x="142" y="206" width="116" height="54" fill="{l}"/><path d="M158 182c2-14 8-22 16-28" fill="none" '
    'stroke="{l}" stroke-width="8" stroke-linecap="round"/>',
}
SILHOUETTES = tuple(_SILHOUETTES)

# Other words by which a slug names its silhouette.
_WORDS: dict[str, str] = {
    **{name: name for name in _SILHOUETTES},
    "earbuds": "headphones",
    "headset": "headphones",
    "shoes": "shoe",
    "sneaker": "shoe",
    "boot": "shoe",
    "backpack": "bag",
    "tote": "bag",
    "stool": "chair",
    "flask": "bottle",
    "novel": "book",
}

_PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400">'
    '<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1">'
    '<stop offset="0" stop-color="{ground}"/><stop offset="1" stop-color="{ground_end}"/></linearGradient></defs>'
    '<rect width="400" height="400" fill="url(#g)"/>'
    '<ellipse cx="200" cy="316" rx="128" ry="14" fill="#1c1917" fill-opacity=".22"/>'
    "{silhouette}</svg>"
)


def product_art(slug: str) -> str:
    """Return a product's picture: an SVG document of at most 3 KB, square, readable on light and dark pages.

    A word in the slug names the silhouette ("phone-aurora-256"); without one the slug's hash chooses.
    """
    digest = hashlib.sha256(slug.encode()).digest()
    hue = int.from_bytes(digest[:2]) % 360
    second_hue = (hue + 35 + digest[2] % 90) % 360
    body_hue = (hue + 150 + digest[3] % 60) % 360
    silhouette = _SILHOUETTES[silhouette_name(slug)].format(
        b=f"hsl({body_hue} 42% 46%)", d=f"hsl({body_hue} 48% 29%)", l=f"hsl({body_hue} 46% 78%)"
    )
    return _PICTURE.format(
        ground=f"hsl({hue} 52% 88%)", ground_end=f"hsl({second_hue} 46% 76%)", silhouette=silhouette
    )


def silhouette_name(slug: str) -> str:
    """Return which of SILHOUETTES the slug gets."""
    for word in re.split(r"[-_]", slug.lower()):
        if word in _WORDS:
            return _WORDS[word]
    return SILHOUETTES[int.from_bytes(hashlib.sha256(slug.encode()).digest()[4:6]) % len(SILHOUETTES)]
