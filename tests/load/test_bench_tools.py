"""What the benchmarks are made of: wrk's result, CPU time of process trees, servers to compare."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from bench.cpu import usage
from bench.servers import GoPeer, GranianServer, peers_missing, valkey_with
from bench.wrk import WrkFailed, wrk_missing, wrk_parse, wrk_run
from tests.services.availability import require

BURN = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n"


def test_wrk_result_is_read():
    line = (
        'RESULT {"requests":100,"duration_us":2000000,"bytes":1,'
        '"errors":{"connect":1,"read":2,"write":3,"status":40,"timeout":4},'
        '"latency_us":{"min":1,"mean":2500.0,"p99":9000}}'
    )
    found = wrk_parse(f"Running 2s test\n{line}\nRequests/sec: 50\n")
    assert (found.requests, found.accepted, found.refused, found.broken) == (100, 60, 40, 10)
    assert (found.qps, found.accepted_per_second) == (50.0, 30.0)
    assert found.latency_ms == {"min": 0.001, "mean": 2.5, "p99": 9.0}


def test_wrk_without_a_result_fails():
    with pytest.raises(WrkFailed, match="unable to connect"):
        wrk_parse("unable to connect to 127.0.0.1")


def test_usage_counts_a_child_while_it_runs_and_after_it_ended():
    before = usage([os.getpid()])
    child = subprocess.Popen([sys.executable, "-c", BURN + "time.sleep(30)"])
    deadline = time.monotonic() + 20
    while usage([os.getpid()]).since(before) < 0.39 and time.monotonic() < deadline:
        time.sleep(0.05)
    running = usage([os.getpid()])
    child.kill()
    child.wait()
    ended = usage([os.getpid()])
    assert running.processes == before.processes + 1
    assert ended.processes == before.processes
    assert 0.39 <= running.since(before) < 2
    # Linux tells what an ended child used, in ticks of 10 ms.
    assert sys.platform != "linux" or ended.since(before) >= running.since(before) - 0.05


def test_usage_of_nobody_is_nothing():
    assert usage([]).processes == 0


def test_the_empty_application_parses_and_answers():
    with GranianServer() as server:
        request = urllib.request.Request(f"{server.url}/x/", data=b'{"quantity":1}')
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert (answer.status, b"reservation_id" in answer.read()) == (202, True)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{server.url}/x/", data=b"{}"), timeout=5)
        with refused.value as answer:
            assert answer.code == 400


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_a_valkey_is_as_durable_as_asked(appendfsync):
    with valkey_with(appendfsync) as server:
        client = server.client(decode_responses=True)
        assert client.config_get("append*")["appendfsync"] == appendfsync
        client.close()
        assert server.tcp_url.startswith("redis://127.0.0.1:")


def test_an_unknown_durability_is_refused():
    with pytest.raises(ValueError, match="sometimes"):
        valkey_with("sometimes")


def test_wrk_sends_each_request_with_its_token_and_key(tmp_path):
    require(wrk_missing(), always_in_ci=False)
    tokens = tmp_path / "tokens"
    tokens.write_text("one\ntwo\nthree\n")
    with GranianServer() as server:
        found = wrk_run(url=server.url, path="/x/", seconds=1, connections=4, threads=2, tokens=tokens)
    assert found.requests > 50
    assert (found.refused, found.broken) == (0, 0)
    assert 0 < found.latency_ms["p50"] <= found.latency_ms["p99.9"] <= found.latency_ms["max"]


@pytest.mark.slow
def test_a_peer_accepts_and_writes_what_it_accepted():
    require(peers_missing(), always_in_ci=False)
    with valkey_with("always") as valkey, GoPeer("lua", valkey_port=valkey.port) as peer:
        for _ in range(3):
            request = urllib.request.Request(f"{peer.url}{peer.path}", data=b'{"quantity":1}')
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert answer.status == 202
        client = valkey.client()
        assert client.xlen("{1}o") == 3
        client.close()
