"""The test's eyes and hands inside the stack: a process with the stack's own settings that answers line by line.

One JSON list a line in: [command, keyword arguments]; one JSON object a line out: {"ok": …} or {"error": …}.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ACCOUNTS = 200
TOKEN_SECONDS = 3_600


def prepare() -> None:
    """Bring the database up to date, make the topic, and have the sale's server trusted."""
    from django.conf import settings
    from django.core.management import call_command
    from django.utils import timezone

    from seckill.relay import topic_ensure
    from seckill.services.reconciliation import server_verify
    from seckill.store import unverified_store

    call_command("migrate", verbosity=0)
    if settings.KAFKA_BOOTSTRAP_SERVERS:
        topic_ensure()  # the relay makes it with its first message; the first trial waits for the consumer before
    if findings := server_verify(store=unverified_store(), now=timezone.now()):
        raise RuntimeError(f"a fresh server is not trusted: {findings}")


def accounts() -> dict[str, Any]:
    """Return the shoppers' user ids and tokens."""
    from django.utils import timezone

    from shop.site.load_accounts import access_tokens, load_accounts_ensure

    user_ids = load_accounts_ensure(ACCOUNTS)
    tokens = access_tokens(user_ids=user_ids, ttl_seconds=TOKEN_SECONDS, now=timezone.now())
    return {"user_ids": user_ids, "tokens": tokens}


def campaign(*, units: int, limit: int) -> dict[str, Any]:
    """Publish a campaign that is live at once."""
    from django.conf import settings

    from orders.models import Sale
    from shop.catalog.models import Product
    from tests.chaos.topic import end_offsets
    from tests.load.options import Options
    from tests.load.target import SLUG, campaign_make

    offsets = end_offsets() if settings.KAFKA_BOOTSTRAP_SERVERS else {}
    campaign_id = campaign_make(Options(units=units, limit=limit, seconds=300))
    sale = Sale.objects.get(pk=campaign_id)
    stock = Product.objects.get(slug=SLUG).stock + sale.allotment
    facts = {"campaign_id": campaign_id, "product_id": sale.product_id, "stock_before": stock}
    return {**facts, "kafka_offsets": offsets}


def backlog() -> int:
    """Return how many records in Kafka are published and not decided."""
    from tests.chaos import topic

    return topic.backlog()


def judge(*, path: str) -> dict[str, Any]:
    """Judge a history; the report and whether all held."""
    from tests.chaos.history import history_read
    from tests.chaos.judgement import judge as judge_history
    from tests.chaos.judgement import report
    from tests.load.verdict import exit_code

    checks = judge_history(history_read(Path(path)))
    return {"held": exit_code(checks) == 0, "report": report(checks)}


def settle() -> None:
    """Decide at once what has waited in the outbox, of whatever campaign."""
    from django.utils import timezone

    from seckill.settler import entries_settle
    from seckill.store import sale_store

    while entries_settle(store=sale_store(), now=timezone.now(), after_seconds=0):
        continue


COMMANDS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (prepare, accounts, campaign, backlog, judge, settle)
}


def answer(line: str) -> dict[str, Any]:
    """Carry out one line and return what to say."""
    from django.db import close_old_connections

    command, arguments = json.loads(line)
    close_old_connections()
    try:
        return {"ok": COMMANDS[command](**arguments)}
    except Exception:  # noqa: BLE001  the test raises it
        return {"error": traceback.format_exc()}


def main() -> None:
    """Answer until the input ends."""
    import django

    django.setup()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # whatever else is printed goes to the log
        for line in sys.stdin:
            answers.write(json.dumps(answer(line)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
