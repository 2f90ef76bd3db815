"""The demo with real Valkeys, granian and Celery; a stub stands for the shop. Sockets, ports and plan without them."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis

from shop.settings import sockets
from shop.site.demo_state import DemoState, read_demo_state
from shop.site.supervision.plan import demo_plan
from shop.site.supervision.ports import NoFreePort, port_choose
from tests.services.processes import free_port, short_directory
from tests.site.test_supervisor import alive, wait_for

BASE_DIR = Path(__file__).resolve().parent.parent.parent
SERVER_VARIABLES = (
    "REDIS_URL",
    "CACHE_URL",
    "SESSION_REDIS_URL",
    "CELERY_BROKER_URL",
    "DATABASE_URL",
    "PORT",
)


class RunningDemo:
    """A stub demo as a subprocess on a data folder."""

    def __init__(self, var_dir: Path, port: int) -> None:
        self.var_dir = var_dir
        self.output = var_dir / f"output-{len(list(var_dir.glob('output-*')))}"
        environment = {name: value for name, value in os.environ.items() if name not in SERVER_VARIABLES}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.site.stub_demo", str(port)],
                env={**environment, "SHOP_VAR_DIR": str(var_dir)},
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait_ready(self) -> None:
        wait_for(lambda: "Ctrl-C stops all" in self.text() or self.process.poll() is not None, self.text, 30)
        assert self.process.poll() is None, self.text()

    def state(self) -> DemoState:
        state = read_demo_state(self.var_dir)
        assert state is not None
        return state

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.state().servers["REDIS_URL"])


@pytest.fixture
def var_dir() -> Iterator[Path]:
    folder = short_directory("demo-")
    yield folder
    state = read_demo_state(folder)
    if state is not None and state.running:
        family = psutil.Process(state.pid).children(recursive=True)
        os.kill(state.pid, signal.SIGKILL)
        wait_for(lambda: alive(family) == [])


def test_demo_serves_restarts_and_stops(var_dir: Path) -> None:
    port = free_port()
    demo = RunningDemo(var_dir, port)
    demo.wait_ready()
    state, family = demo.state(), demo.family()

    assert [process.name for process in state.processes] == ["cache", "sale", "worker", "web"]
    for process in state.processes:
        assert f"✓ {process.name.ljust(6)}  pid {process.pid}" in demo.text()
        assert Path(process.log).parent == var_dir / "logs"
    assert f"Admin     http://127.0.0.1:{port}/admin/" in demo.text()
    assert "Next sale " in demo.text()
    assert int(urllib.request.urlopen(state.url, timeout=5).read()) in {one.pid for one in family}

    # The sale's server has the promise's settings, the other one those of a cache.
    with demo.client() as client:
        assert client.config_get("append*")["appendfsync"] == "always"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("no-appendfsync-on-rewrite") == {"no-appendfsync-on-rewrite": "no"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("port") == {"port": "0"}
    with redis.Redis.from_url(state.servers["SESSION_REDIS_URL"]) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-lru"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}

    # kill -9 of the sale's server: it comes back with what it had acknowledged.
    sale = next(process for process in state.processes if process.name == "sale")
    os.kill(sale.pid, signal.SIGKILL)
    wait_for(lambda: "✓ sale: killed by SIGKILL; started again" in demo.text(), demo.text)
    with demo.client() as client:
        assert client.get("starts") == b"1"

    # kill -9 of granian's own worker ends granian, and the supervisor starts both again on the same port.
    web = next(process for process in demo.state().processes if process.name == "web")
    psutil.Process(web.pid).children()[0].kill()
    wait_for(lambda: "✓ web: " in demo.text(), demo.text)
    assert urllib.request.urlopen(state.url, timeout=5).status == 200

    family += demo.family()
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(timeout=30) == 0
    assert demo.text().endswith("Stopped. The data is kept; start again with the same command.\n")
    assert alive(family) == []
    assert "Ready to accept connections" in (var_dir / "logs" / "sale.out").read_text()
    assert "bye bye" in (var_dir / "logs" / "sale.out").read_text()  # it was asked, not killed


def test_demo_killed_leaves_nothing_and_starts_again_on_its_data(var_dir: Path) -> None:
    first = RunningDemo(var_dir, free_port())
    first.wait_ready()
    family = first.family()
    assert len(family) == 6  # guardian, two Valkeys, worker, granian and its worker

    refused = RunningDemo(var_dir, first.state().port)
    assert refused.process.wait(timeout=20) == 1
    taken, running = refused.text().split("\n", 1)
    assert taken.startswith(f"Port {first.state().port} is taken; using ")
    assert f"A demo already runs on {var_dir}: pid {first.process.pid}" in running

    first.process.kill()
    first.process.wait()
    second = RunningDemo(var_dir, free_port())
    second.wait_ready()

    assert alive(family) == []
    with second.client() as client:
        assert client.get("starts") == b"2"
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(timeout=30) == 0


def test_plan_does_not_start_servers_that_the_environment_names(tmp_path: Path) -> None:
    everywhere = {
        "REDIS_URL": "redis://sale/0",
        "CACHE_URL": "redis://cache/0",
        "SESSION_REDIS_URL": "redis://cache/1",
        "CELERY_BROKER_URL": "redis://cache/2",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    }

    plan = demo_plan(var_dir=tmp_path, base_dir=BASE_DIR, port=8000, environment=everywhere)

    assert plan.servers == ()
    assert plan.sockets == {}
    assert [app.name for app in plan.apps] == ["worker", "relay", "web"]
    assert plan.addresses == {name: everywhere[name] for name in plan.addresses}
    assert plan.apps[0].environment["REDIS_URL"] == "redis://sale/0"

    cache_only = {name: everywhere[name] for name in ("REDIS_URL", "CACHE_URL", "SESSION_REDIS_URL")}
    plan = demo_plan(var_dir=tmp_path, base_dir=BASE_DIR, port=8000, environment=cache_only)

    assert [server.name for server in plan.servers] == ["cache"]  # the broker has no other
    assert [app.name for app in plan.apps] == ["worker", "web"]
    assert plan.addresses["CACHE_URL"] == "redis://cache/0"
    assert plan.addresses["CELERY_BROKER_URL"] == f"redis+socket://{tmp_path}/cache.sock?virtual_host=2"


def test_plan_binds_the_loopback_address_only(tmp_path: Path) -> None:
    plan = demo_plan(var_dir=tmp_path, base_dir=BASE_DIR, port=8123, environment={})

    web = plan.apps[-1].command
    assert web[web.index("--host") + 1] == "127.0.0.1"
    assert web[web.index("--port") + 1] == "8123"
    for server in plan.servers:
        assert server.command[server.command.index("--port") + 1] == "0"


def test_socket_of_a_long_data_folder_lies_in_a_short_private_one(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 25)
    long.mkdir()

    folder = sockets.socket_folder_prepare(long)

    try:
        assert folder == sockets.socket_folder(tmp_path / "." / ("long" * 25))  # the same from anywhere
        assert folder != sockets.socket_folder(tmp_path / ("long" * 26))
        assert folder.parent == Path("/tmp")
        assert folder.stat().st_mode & 0o777 == 0o700
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(sockets.socket_path(long, sockets.CACHE)))
        folder.chmod(0o755)
        with pytest.raises(sockets.UnsafeSocketFolder):
            sockets.socket_folder_prepare(long)
    finally:
        sockets.socket_path(long, sockets.CACHE).unlink(missing_ok=True)
        folder.rmdir()


def test_socket_folder_is_never_somebody_elses_link(tmp_path: Path) -> None:
    long = tmp_path / ("link" * 25)
    folder = sockets.socket_folder(long)
    folder.symlink_to(tmp_path)
    try:
        with pytest.raises(sockets.UnsafeSocketFolder):
            sockets.socket_folder_prepare(long)
    finally:
        folder.unlink()


def test_socket_lies_in_a_data_folder_whose_path_just_fits() -> None:
    fits = Path("/" + "d" * (sockets.LONGEST_SOCKET_PATH_BYTES - len("//cache.sock")))
    assert sockets.socket_path(fits, sockets.CACHE) == fits / "cache.sock"
    assert len(str(fits / "cache.sock")) == 103
    assert sockets.socket_folder(Path(f"{fits}d")).parent == Path("/tmp")


def test_port_is_replaced_by_the_next_free_one() -> None:
    wanted = free_port()
    assert port_choose(wanted) == wanted
    with socket.create_server(("127.0.0.1", wanted)):
        assert wanted < port_choose(wanted) < wanted + 100


def test_port_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.site.supervision.ports.port_is_free", lambda _port: False)
    with pytest.raises(NoFreePort, match="Port 8000 is taken, and so are those after it"):
        port_choose(8000)
    with pytest.raises(NoFreePort, match="There is no port 70000"):
        port_choose(70_000)


def test_state_of_a_killed_supervisor_is_not_running(tmp_path: Path) -> None:
    from shop.site.demo_state import remove_demo_state, write_demo_state

    own = psutil.Process()
    state = DemoState(pid=own.pid, started_at=own.create_time(), port=8000, token="t")
    write_demo_state(tmp_path, state)

    found = read_demo_state(tmp_path)
    assert found == state
    assert found.running
    assert not replace(state, started_at=state.started_at - 60).running  # the id was given to another process
    assert json.loads((tmp_path / "demo.json").read_text())["port"] == 8000
    remove_demo_state(tmp_path)
    assert read_demo_state(tmp_path) is None
