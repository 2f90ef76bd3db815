"""The demo's own start, supervision and screen with real Valkeys, granian and Celery, but a stub of the shop.

`python -m tests.site.stub_demo PORT`; SHOP_VAR_DIR chooses the data folder.
"""

import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import django
import redis
from django.core.management import CommandError
from django.utils import timezone

from shop.site.management.commands import demo
from shop.site.supervision.plan import DemoPlan, demo_plan, web_spec, worker_spec

STUB = "tests.site.stub_application"


def stub_plan(**arguments: Any) -> DemoPlan:
    """Return the demo's plan with the stub in place of the shop."""
    plan = demo_plan(**arguments)
    from django.conf import settings

    web = web_spec(port=arguments["port"], environment=plan.environment, application=f"{STUB}:application")
    worker = worker_spec(var_dir=settings.VAR_DIR, environment=plan.environment, application=STUB)
    return replace(plan, apps=(worker, web))


def stub_prepare(running: demo.Demo) -> datetime:
    """Count the starts in the sale's server, as the seed would write there."""
    from django.conf import settings

    client = redis.Redis.from_url(settings.REDIS_URL)
    running.step("database", lambda: client.incr("starts"))
    client.close()
    return timezone.now() + timedelta(seconds=90)


def main() -> None:
    """Run it as the command does."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.stub_settings"
    django.setup()
    original = demo.Demo
    demo.Demo = lambda **arguments: original(plan=stub_plan, prepare=stub_prepare, **arguments)  # type: ignore[assignment, misc]
    try:
        demo.Command().run_from_argv(["manage.py", "demo", "--port", sys.argv[1]])
    except CommandError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
