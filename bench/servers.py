"""Servers that benchmarks compare: the Go peers, granian with any application, Valkey with a chosen durability.

Each is a context manager that starts a process of its own on a free loopback port and takes it away at the end.
"""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

from shop.site.supervision.plan import web_spec
from shop.site.supervision.processes import ProcessSpec, Started
from tests.services.processes import (
    Child,
    Server,
    ServiceFailed,
    find_program,
    free_port,
    port_is_open,
    short_directory,
    wait_until,
)
from tests.services.valkey import ValkeyServer

ROOT = Path(__file__).parents[1]
PEERS = ROOT / "bench" / "peers"
BUILT = ROOT / ".cache" / "bench"
OLDEST_GO = (1, 26)
PEER_MODES = ("classic", "lua", "piped", "empty")
FSYNC_MODES = ("always", "everysec", "no")
START_SECONDS = 20
BUILD_SECONDS = 600  # the first build compiles every dependency; 190 s seen on two cores


def _go() -> str | None:
    return find_program("go", "/usr/local/go/bin/go")


@cache
def go_version() -> str | None:
    """Return the Go toolchain's version, None without one."""
    go = _go()
    if go is None:
        return None
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=False)
    return answer.stdout.strip() or None


@cache
def peers_missing() -> str | None:
    """Return why the Go peers cannot be built here, None when they can."""
    go = _go()
    if go is None:
        return "no Go toolchain for the peers"
    found = re.match(r"go(\d+)\.(\d+)", go_version() or "")
    if found is None or (int(found.group(1)), int(found.group(2))) < OLDEST_GO:
        return f"the peers need Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or later, here is {go_version() or 'none'}"
    return None


@cache
def peer_program() -> Path:
    """Build the peers, or take the last build when no source is newer, and return the program.

    :raises ServiceFailed: there is no Go, or the build fails
    """
    reason = peers_missing()
    if reason is not None:
        raise ServiceFailed(reason)
    program = BUILT / "gopeer"
    sources = [PEERS / name for name in ("main.go", "go.mod", "go.sum")]
    newest = max(source.stat().st_mtime for source in sources)
    if program.exists() and program.stat().st_mtime >= newest:
        return program
    BUILT.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(_go()), "build", "-o", str(program), "."],
        cwd=PEERS,
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise ServiceFailed(f"the peers do not build:\n{done.stderr}")
    return program


class ListeningServer(Server):
    """A server that is up when its loopback port accepts connections."""

    def __init__(self, *, prefix: str, port: int | None = None) -> None:
        self.directory = short_directory(prefix)
        self.port = port or free_port()

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process to measure; its descendants belong to it."""
        return self.child.pid

    def start(self) -> None:
        """Start it and wait for its port."""
        self.child.start()
        wait_until(
            lambda: port_is_open(self.port),
            deadline_seconds=START_SECONDS,
            what=self.child.command[0],
            child=self.child,
        )

    def __enter__(self) -> Self:
        super().__enter__()
        return self


class GoPeer(ListeningServer):
    """One Go peer. `POST /seckill` takes {"quantity": 1}.

    valkey_port: TCP port of its Valkey. kafka: bootstrap address, for mode classic; without it that mode XADDs.
    """

    path = "/seckill"

    def __init__(self, mode: str, *, valkey_port: int, kafka: str = "") -> None:
        if mode not in PEER_MODES:
            raise ValueError(f"no peer {mode!r}: one of {', '.join(PEER_MODES)}")
        super().__init__(prefix="peer-")
        words = ["-mode", mode, "-addr", f"127.0.0.1:{self.port}", "-redis", f"127.0.0.1:{valkey_port}"]
        if kafka:
            words += ["-kafka", kafka]
        self.child = Child([str(peer_program()), *words], log_path=self.directory / "peer.log")


class SpecServer(Server):
    """A process of the demo's plan, run without its supervisor: same command, environment and readiness.

    directory: where its log lies; removed at the end.
    """

    def __init__(self, spec: ProcessSpec, *, directory: Path | None = None) -> None:
        self.spec = spec
        self.directory = directory or short_directory(f"{spec.name}-")
        self.child = Child(
            spec.command,
            log_path=self.directory / f"{spec.name}.log",
            environment=spec.environment,
            directory=ROOT,
        )

    @property
    def pid(self) -> int:
        """The process to measure; its descendants belong to it."""
        return self.child.pid

    def start(self) -> None:
        """Start it and wait until its plan calls it ready."""
        self.child.start()
        started = Started(pid=self.child.pid, started_at=time.monotonic())
        wait_until(
            lambda: self.spec.ready(started),
            deadline_seconds=self.spec.ready_seconds,
            what=self.spec.name,
            child=self.child,
        )

    def __enter__(self) -> Self:
        super().__enter__()
        return self


class GranianServer(SpecServer):
    """granian as the shop runs it, with any ASGI application.

    application: `module:name`. path: a page of it that answers 200. environment: what to add to this process's.
    """

    def __init__(
        self,
        application: str = "bench.empty_app:app",
        *,
        path: str = "/",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        spec = web_spec(port=self.port, environment=environment or {}, application=application, path=path)
        super().__init__(spec)

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


def valkey_with(appendfsync: str, *, options: Mapping[str, str] | None = None) -> ValkeyServer:
    """Make a Valkey, with a TCP port, whose append-only file is synced as told: always, everysec or no."""
    if appendfsync not in FSYNC_MODES:
        raise ValueError(f"appendfsync {appendfsync!r}: one of {', '.join(FSYNC_MODES)}")
    return ValkeyServer(port=free_port(), options={"appendfsync": appendfsync, **(options or {})})
