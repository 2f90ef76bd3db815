"""A whole load test against a stub shop beside the real database and Valkey: what it promises in vain is found."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orders.models import Sale
from seckill.services.reconciliation import server_verify
from seckill.store import unverified_store
from tests.load.options import Options, options_parse
from tests.load.session import load
from tests.load.stub_server import Faults, Shop, stub_started
from tests.services.processes import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sale_server(valkey_server) -> None:
    from django.utils import timezone

    valkey_server.clear()
    assert server_verify(store=unverified_store(), now=timezone.now()) == []


class Stub:
    """The stub shop in a thread with a loop of its own."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.loop = shop, asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(stub_started(shop))
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    found = Stub(Shop(units=0, limit=2))
    yield found
    found.end()


def options(url: str, path, **changes) -> Options:
    base = Options(
        url=url,
        users=4,
        requests=40,
        qps=0.0,
        seconds=10.0,
        accounts=20,
        units=10,
        settle_seconds=1.0,
        quiet=True,
        json_path=path,
    )
    return replace(base, **changes)


def breaches(path) -> dict[str, Any]:
    checks = json.loads(path.read_text())["verdict"]["checks"]
    return {check["name"]: check["found"] for check in checks if not check["ok"]}


def test_promises_without_orders_are_a_breach(sale_server, stub, tmp_path, capsys):
    stub.shop.left = 10
    path = tmp_path / "reports" / "load.json"
    assert load(options(stub.url, path), None) == 1
    found = breaches(path)
    assert found.pop("seconds until all was decided") >= 1
    assert found == {
        "202s without an order": 10,
        "units sold = min(allotment, demand)": 0,
        "statuses that contradict the order": 10,
    }
    text = capsys.readouterr().out
    assert text.startswith("✗ BREACH\n")
    assert "✗ 202s without an order: 10  (wanted 0)" in text


def test_refusals_while_all_units_are_left_are_a_breach(sale_server, stub, tmp_path):
    path = tmp_path / "load.json"
    assert load(options(stub.url, path), None) == 1
    assert breaches(path) == {"units sold = min(allotment, demand)": 0}
    report = json.loads(path.read_text())
    assert report["outcomes"]["409 seckill.sold_out"]["count"] == 40
    assert report["counts"]["issued"] == 40
    assert report["gc_missing_because"].startswith("/metrics answered 200")
    assert "token" not in report["target"]


def test_a_run_that_held_ends_with_0(sale_server, stub, tmp_path):
    # The real campaign has ten units; a shop that answers `busy` to all has sold none and promised none.
    stub.shop.faults = Faults(busy_every=1)
    path = tmp_path / "load.json"
    assert load(options(stub.url, path, retries=0), None) == 0
    assert breaches(path) == {}
    assert Sale.objects.get().sold == 0


def test_an_existing_campaign_is_taken_and_not_made_again(sale_server, stub, tmp_path):
    stub.shop.faults = Faults(busy_every=1)
    path = tmp_path / "load.json"
    assert load(options(stub.url, path, retries=0), None) == 0
    campaign = Sale.objects.get().pk
    assert load(options(stub.url, path, retries=0, campaign=campaign), None) == 0
    assert json.loads(path.read_text())["target"]["campaign_id"] == campaign
    assert Sale.objects.count() == 1


def test_a_broken_answer_is_a_breach(sale_server, stub, tmp_path):
    stub.shop.faults = Faults(broken_every=20)
    path = tmp_path / "load.json"
    assert load(options(stub.url, path), None) == 1
    assert breaches(path)["5xx answers other than 503"] == 2


def test_a_missed_threshold_is_a_breach(sale_server, stub, tmp_path):
    stub.shop.faults = Faults(busy_every=1)
    path = tmp_path / "load.json"
    assert load(options(stub.url, path, retries=0, min_qps=1e6), None) == 1
    assert set(breaches(path)) == {"answers per second"}


def test_no_shop_is_told_with_code_2(sale_server, tmp_path, capsys):
    assert load(options(f"http://127.0.0.1:{free_port()}", tmp_path / "load.json"), None) == 2
    assert "does not answer" in capsys.readouterr().err
    assert not (tmp_path / "load.json").exists()


def test_no_valkey_is_told_with_code_2(stub, tmp_path, capsys, settings):
    settings.REDIS_URL = f"unix://{tmp_path}/none.sock"
    assert load(options(stub.url, tmp_path / "load.json"), None) == 2
    assert "REDIS_URL" in capsys.readouterr().err


def test_an_unknown_campaign_is_told_with_code_2(sale_server, stub, tmp_path, capsys):
    assert load(options(stub.url, tmp_path / "load.json", campaign=999), None) == 2
    assert "Campaign 999 is not there" in capsys.readouterr().err


def test_the_command_line_has_the_published_defaults():
    given = options_parse(["--json", "x.json", "--seed", "1"])
    assert (given.users, given.requests, given.qps, given.seconds, given.accounts) == (
        100,
        10_000,
        1_000,
        60,
        10_000,
    )
    assert (given.url, given.campaign, given.open_loop, str(given.json_path)) == (None, None, False, "x.json")


@pytest.mark.parametrize(
    "words", [["--open", "--qps", "0"], ["--users", "0"], ["--qps", "nan"], ["--quantity", "3"]]
)
def test_a_senseless_command_line_ends_with_code_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        options_parse(words)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err
