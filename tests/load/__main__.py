"""Run the load driver: python -m tests.load --help."""

import os
import sys
from pathlib import Path

from shop.site.demo_state import DemoState, read_demo_state
from tests.load.options import options_parse


def demo_running() -> DemoState | None:
    """Find the demo that runs on this checkout's data, and take its servers' addresses for our settings."""
    demo = read_demo_state(Path(os.environ.get("SHOP_VAR_DIR") or Path(__file__).parents[2] / "var"))
    if demo is None or not demo.running:
        return None
    for name, value in demo.servers.items():
        os.environ.setdefault(name, value)
    return demo


def main(words: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    options = options_parse(words)
    demo = demo_running()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings.development")
    import django

    django.setup()
    from tests.load.session import load

    return load(options, demo)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
