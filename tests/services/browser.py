"""A real Chromium, driven by Playwright; the system's browser, none is downloaded."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.services.processes import ServiceFailed, find_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LAUNCH_FLAGS = (
    "--no-sandbox",  # root, as in a container, cannot use it
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def chromium_program() -> str | None:
    """Find a Chromium: CHROMIUM, then the usual names on PATH."""
    given = os.environ.get("CHROMIUM")
    return given or find_program("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium_launched() -> Iterator["Browser"]:
    """Run a headless browser for the length of a `with` block.

    Playwright's synchronous interface runs an event loop in this thread: inside the block Django takes database
    calls for asynchronous ones, and `asyncio.run` fails. So DJANGO_ALLOW_ASYNC_UNSAFE is set inside, and the block
    should be no longer than a module of browser tests.
    """
    from playwright.sync_api import sync_playwright

    program = chromium_program()
    if program is None:
        raise ServiceFailed("no chromium is installed")
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    with tempfile.TemporaryDirectory(prefix="chromium-") as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(LAUNCH_FLAGS), env={**os.environ, "HOME": home}
        )
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
        try:
            yield browser
        finally:
            if before is None:
                del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
            else:
                os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before
            browser.close()
