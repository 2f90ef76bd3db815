"""Toxiproxy: a TCP proxy whose connections a test slows, cuts or swallows."""

import json
import os
import shutil
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.services.processes import (
    Child,
    Server,
    ServiceFailed,
    free_port,
    port_is_open,
    short_directory,
    wait_until,
)

START_SECONDS = 10
CALL_SECONDS = 5


def toxiproxy_program() -> str | None:
    """Find the server: TOXIPROXY_SERVER, PATH, or where .ci/install-services puts it."""
    given = os.environ.get("TOXIPROXY_SERVER")
    built = Path(__file__).parents[2] / ".cache" / "bin" / "toxiproxy-server"
    return given or shutil.which("toxiproxy-server") or (str(built) if built.exists() else None)


class Toxiproxy(Server):
    """One toxiproxy server; each proxy has a name, a port of its own and an upstream port."""

    def __init__(self) -> None:
        program = toxiproxy_program()
        if program is None:
            raise ServiceFailed("toxiproxy-server is not installed")
        self.directory = short_directory("toxiproxy-")
        self.port = free_port()
        command = [program, "-host", "127.0.0.1", "-port", str(self.port)]
        self.child = Child(command, log_path=self.directory / "toxiproxy.log")

    def start(self) -> None:
        """Start it and wait for its control port."""
        self.child.start()
        wait_until(
            lambda: port_is_open(self.port),
            deadline_seconds=START_SECONDS,
            what="toxiproxy",
            child=self.child,
        )

    def proxy(self, name: str, *, upstream_port: int, port: int | None = None) -> int:
        """Put a proxy before the port of a running server and return the proxy's own port."""
        listen_port = port or free_port()
        self._call(
            "POST",
            "/proxies",
            {
                "name": name,
                "listen": f"127.0.0.1:{listen_port}",
                "upstream": f"127.0.0.1:{upstream_port}",
                "enabled": True,
            },
        )
        return listen_port

    def cut(self, name: str) -> None:
        """Close the proxy's connections and refuse new ones."""
        self._call("POST", f"/proxies/{name}", {"enabled": False})

    def heal(self) -> None:
        """Open every proxy again and take all toxics away."""
        self._call("POST", "/reset", {})

    def slow(self, name: str, *, latency_ms: int) -> None:
        """Delay every answer."""
        self._toxic(name, "latency", {"latency": latency_ms})

    def swallow(self, name: str) -> None:
        """Take everything and answer nothing, with connections left open."""
        self._toxic(name, "timeout", {"timeout": 0})

    def reset(self, name: str, *, after_ms: int = 0) -> None:
        """Reset connections a while after their first byte."""
        self._toxic(name, "reset_peer", {"timeout": after_ms})

    def _toxic(self, name: str, kind: str, attributes: dict[str, int]) -> None:
        body = {"name": kind, "type": kind, "stream": "downstream", "attributes": attributes}
        self._call("POST", f"/proxies/{name}/toxics", body)

    def _call(self, method: str, path: str, body: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        # No proxy of the environment stands before the loopback address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=CALL_SECONDS) as answer:
            answer.read()

    def __enter__(self) -> Self:
        super().__enter__()
        return self
