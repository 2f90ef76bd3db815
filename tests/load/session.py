"""A whole load test: prepare, send, wait until all is decided, judge, report."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import redis
import uvloop
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import close_old_connections

from seckill.conservation import conservation
from shop.resilience.errors import ShopError
from shop.site.demo_state import DemoState
from tests.load.facts import facts_read, reservation_ids, settled, statuses_read
from tests.load.options import Options
from tests.load.outcomes import History, Recorder
from tests.load.progress import Progress
from tests.load.report import figures, report_json, report_text, report_write
from tests.load.run import LoadRun, Plan, TargetUnreachable, Timing
from tests.load.samples import Sampler
from tests.load.shop_api import reservations_path
from tests.load.target import NotReady, Target, target_prepare
from tests.load.verdict import Check, Facts, broken_answers, correctness, exit_code, thresholds
from tests.load.wire import Messages

PROGRESS_SECONDS = 0.2
# The sampler's thread must give the interpreter back quickly, or its work shows in the latencies.
SWITCH_SECONDS = 0.0005
SETTINGS_HINT = (
    "The check reads the shop's own database and Valkey: run the driver where both can be reached, with the shop's "
    "DJANGO_SETTINGS_MODULE, DATABASE_URL and REDIS_URL (or SHOP_VAR_DIR for a demo elsewhere)."
)


@dataclass(frozen=True)
class Sent:
    """What a run left behind."""

    recorder: Recorder
    timing: Timing
    sampler: Sampler


def load(options: Options, demo: DemoState | None) -> int:
    """Run the load test and return the exit code: 0 all held, 1 a breach, 2 it could not run."""
    try:
        target = target_prepare(options, demo)
        # Read once before any load, so that a wrong setting shows now and not after the run.
        conservation(campaign_id=target.campaign_id)
        before = frozenset() if target.fresh else reservation_ids(target.campaign_id)
        _say(options, f"{target.url} campaign {target.campaign_id}, seed {options.seed}")
        sent = send(options, target)
    except (NotReady, TargetUnreachable) as error:
        return _cannot(str(error))
    except (DatabaseError, redis.RedisError, ImproperlyConfigured, ShopError) as error:
        return _cannot(f"{type(error).__name__}: {error}\n{SETTINGS_HINT}")
    checks = judge(options, target, sent, before)
    return _report(options, target, sent, checks)


def send(options: Options, target: Target) -> Sent:
    """Send the load and return what was recorded.

    :raises TargetUnreachable: the shop does not accept connections
    """
    run_id = os.urandom(6).hex()
    messages = Messages(
        url=target.url,
        path=reservations_path(target.campaign_id),
        tokens=target.tokens,
        quantity=options.quantity,
        run_id=run_id,
    )
    recorder = Recorder(retries=options.retries)
    sampler = Sampler(url=target.url, campaign_id=target.campaign_id, pids=target.pids, recorder=recorder)
    run = LoadRun(plan=_plan(options, target), messages=messages, recorder=recorder)
    progress = Progress(
        total=options.requests, seconds=options.seconds, stream=sys.stderr, quiet=options.quiet
    )
    switch_before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        uvloop.run(_run(run, sampler, progress))
    finally:
        sys.setswitchinterval(switch_before)
    return Sent(recorder=recorder, timing=run.timing, sampler=sampler)


async def _run(run: LoadRun, sampler: Sampler, progress: Progress) -> None:
    """Send with progress shown; Ctrl-C stops the sending, and what was sent is still checked."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, run.stop)
    started = False

    def on_start() -> None:
        nonlocal started
        started = True
        progress.start()
        sampler.start()

    shown = asyncio.create_task(_show(run, progress))
    try:
        await run.run(started=on_start)
    finally:
        shown.cancel()
        with suppress(asyncio.CancelledError):
            await shown
        if started:
            sampler.stop()
            progress.end()


async def _show(run: LoadRun, progress: Progress) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        if run.timing.started:
            progress.show(run.recorder.finished)


def _plan(options: Options, target: Target) -> Plan:
    return Plan(
        url=target.url,
        users=options.users,
        requests=options.requests,
        qps=options.qps,
        seconds=options.seconds,
        accounts=len(target.tokens),
        open_loop=options.open_loop,
        seed=options.seed,
        timeout_seconds=options.timeout_seconds,
        give_up_seconds=options.give_up_seconds,
    )


def judge(options: Options, target: Target, sent: Sent, before: frozenset[str]) -> list[Check]:
    """Wait until everything is decided, then check it against Valkey and the database."""
    _say(options, "waiting until every reservation is decided …")
    history = sent.recorder.history
    close_old_connections()  # the database may have been restarted meanwhile
    try:
        facts = _facts(options, target, history, before)
    except (DatabaseError, redis.RedisError, ShopError, OSError) as error:
        # What cannot be checked has not held.
        return [
            Check(
                "checked against Valkey and the database",
                False,
                f"{type(error).__name__}: {error}",
                "checked",
            )
        ]
    numbers = figures(sent.recorder, sent.timing)
    return [
        *correctness(
            history=history,
            facts=facts,
            user_ids=target.user_ids,
            quantity=options.quantity,
            fresh=target.fresh,
        ),
        Check(
            "seconds until all was decided",
            facts.settle_seconds <= options.settle_seconds,
            round(facts.settle_seconds, 2),
            f"<= {options.settle_seconds:g}",
        ),
        broken_answers(numbers.outcomes),
        *thresholds(options=options, qps=numbers.qps, overall=numbers.overall),
    ]


def _facts(options: Options, target: Target, history: History, before: frozenset[str]) -> Facts:
    """Wait for the last decision, then read what Valkey, the database and the API say."""
    settle_seconds = settled(
        campaign_id=target.campaign_id,
        accepted={name for name, _account in history.accepted},
        deadline_seconds=options.settle_seconds,
    )
    statuses = statuses_read(
        url=target.url,
        accepted=history.accepted,
        tokens=target.tokens,
        deadline_seconds=max(options.settle_seconds - settle_seconds, 1.0),
    )
    return facts_read(
        campaign_id=target.campaign_id, before=before, statuses=statuses, settle_seconds=settle_seconds
    )


def _report(options: Options, target: Target, sent: Sent, checks: list[Check]) -> int:
    report = report_json(
        options=options,
        target=_target_facts(target),
        recorder=sent.recorder,
        timing=sent.timing,
        numbers=figures(sent.recorder, sent.timing),
        checks=checks,
        sampler=sent.sampler,
        ended_at=datetime.now(UTC),
    )
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write(report_text(report, colour=colour))
    if options.json_path is not None:
        report_write(options.json_path, report)
        print(f"report: {options.json_path}")
    return exit_code(checks)


def _target_facts(target: Target) -> dict[str, Any]:
    """Return what the report says of the target; tokens stay out of it."""
    return {name: value for name, value in asdict(target).items() if name not in ("tokens", "user_ids")}


def _say(options: Options, text: str) -> None:
    if not options.quiet:
        print(text, file=sys.stderr, flush=True)


def _cannot(reason: str) -> int:
    print(f"The load test could not run. {reason}", file=sys.stderr)
    return 2
