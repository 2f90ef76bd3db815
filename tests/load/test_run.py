"""The driver against a stub shop over real sockets: every answer and every lost one is accounted for."""

import asyncio
import time

import pytest
import uvloop

from tests.load.outcomes import Recorder
from tests.load.run import LoadRun, Plan, TargetUnreachable
from tests.load.stub_server import Faults, Shop, stub_started
from tests.load.wire import Messages
from tests.services.processes import free_port

TOKENS = [f"token-{number}" for number in range(100)]


def drive(shop: Shop, *, retries: int = 3, **changes) -> tuple[Recorder, LoadRun]:
    recorder = Recorder(retries=retries)

    async def body() -> LoadRun:
        server = await stub_started(shop)
        port = server.sockets[0].getsockname()[1]
        settings = {
            "url": f"http://127.0.0.1:{port}",
            "users": 8,
            "requests": 400,
            "qps": 0.0,
            "seconds": 20.0,
            "accounts": len(TOKENS),
            "open_loop": False,
            "seed": 3,
            "timeout_seconds": 5.0,
            "give_up_seconds": 5.0,
        }
        plan = Plan(**{**settings, **changes})
        messages = Messages(url=plan.url, path="/r/", tokens=TOKENS, quantity=1, run_id="t")
        run = LoadRun(plan=plan, messages=messages, recorder=recorder)
        await run.run()
        server.close()
        return run

    return recorder, uvloop.run(body())


def counts(recorder: Recorder) -> dict[str, float]:
    return {name: row["count"] for name, row in recorder.summaries().items()}


@pytest.mark.parametrize("chunked", [False, True])
def test_closed_loop_sends_all_and_counts_each_outcome(chunked):
    shop = Shop(units=150, limit=1, faults=Faults(chunked=chunked))
    recorder, run = drive(shop)
    assert counts(recorder) == {"202 accepted": 100, "409 seckill.limit_reached": 300}
    assert {name for name, _account in recorder.history.accepted} == {
        name.decode() for name in shop.reservations
    }
    assert (run.timing.issued, recorder.finished, run.timing.stopped_by) == (400, 400, "requests")


def test_closed_loop_sells_out():
    recorder, _run = drive(Shop(units=30, limit=1), requests=100)
    assert counts(recorder) == {"202 accepted": 30, "409 seckill.sold_out": 70}


def test_closed_loop_keeps_the_pace():
    recorder, run = drive(Shop(units=1_000, limit=9), requests=200, qps=400.0)
    assert recorder.answers == 200
    assert 0.49 < run.timing.seconds < 0.8  # 200 at 400 a second, the first at once


def test_time_ends_the_sending():
    recorder, run = drive(Shop(units=10_000, limit=999), requests=10_000, qps=200.0, seconds=0.5)
    assert run.timing.stopped_by == "seconds"
    assert 60 <= recorder.answers <= 101
    assert recorder.finished == run.timing.issued


def test_an_answer_lost_after_acceptance_is_repeated_with_its_key():
    shop = Shop(units=1_000, limit=99, faults=Faults(cut_every=7, unknown_every=11))
    recorder, run = drive(shop, retries=20)  # enough however the faults fall on one request
    assert recorder.accepted == 400
    assert len(set(recorder.history.accepted)) == len(shop.reservations) == 400
    assert recorder.replayed > 30
    assert recorder.repeats == sum(recorder.errors.values()) + counts(recorder)["503 seckill.unknown"]
    assert run.timing.reconnects == sum(recorder.errors.values()) > 30
    assert recorder.history.unanswered == 0


def test_without_repeats_a_cut_leaves_requests_open():
    shop = Shop(units=1_000, limit=99, faults=Faults(cut_every=10))
    recorder, _run = drive(shop, retries=0)
    assert (recorder.accepted, recorder.history.unanswered) == (360, 40)
    assert sum(recorder.history.open_ended.values()) == 40
    assert len(shop.reservations) == 400


def test_a_silent_server_is_given_up():
    shop = Shop(units=1_000, limit=99, faults=Faults(delay_seconds=30))
    recorder, _run = drive(shop, retries=0, users=4, requests=4, timeout_seconds=0.2)
    assert recorder.errors == {"timeout": 4}
    assert (recorder.answers, recorder.history.unanswered) == (0, 4)


def test_open_loop_counts_the_wait_for_a_connection():
    # One connection, 20 ms an answer: 50 a second at most, 200 arrive. A closed loop would report 20 ms for each.
    shop = Shop(units=1_000, limit=99, faults=Faults(delay_seconds=0.02))
    recorder, run = drive(shop, users=1, requests=40, qps=200.0, open_loop=True)
    figures = recorder.summaries()["202 accepted"]
    assert figures["count"] == 40
    assert figures["max_ms"] > 400
    assert run.timing.late_arrivals > 30


def test_closed_loop_counts_from_the_sending():
    shop = Shop(units=1_000, limit=99, faults=Faults(delay_seconds=0.02))
    recorder, _run = drive(shop, users=1, requests=20, qps=200.0)
    assert recorder.summaries()["202 accepted"]["p50_ms"] < 60


def test_open_loop_gives_up_arrivals_that_waited_too_long():
    shop = Shop(units=1_000, limit=99, faults=Faults(delay_seconds=0.02))
    recorder, run = drive(shop, users=1, requests=60, qps=400.0, open_loop=True, give_up_seconds=0.1)
    assert run.timing.given_up > 20
    assert recorder.answers + run.timing.given_up == run.timing.issued == 60


def test_no_shop_is_an_error():
    plan = Plan(
        url=f"http://127.0.0.1:{free_port()}",
        users=2,
        requests=1,
        qps=0.0,
        seconds=1.0,
        accounts=1,
        open_loop=False,
        seed=0,
        timeout_seconds=1.0,
        give_up_seconds=1.0,
    )
    messages = Messages(url=plan.url, path="/r/", tokens=["t"], quantity=1, run_id="t")
    started = time.monotonic()
    with pytest.raises(TargetUnreachable, match=r"127\.0\.0\.1"):
        asyncio.run(LoadRun(plan=plan, messages=messages, recorder=Recorder(retries=0)).run())
    assert time.monotonic() - started < 5
