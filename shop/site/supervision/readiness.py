"""How the supervisor knows that a process serves. Each probe is asked again and again and answers quickly."""

import http.client
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from shop.site.supervision.processes import Started

PROBE_SECONDS = 0.5
READY_FILE_VARIABLE = "SHOP_READY_FILE"  # tells a process where to write its id when it serves


@dataclass(frozen=True)
class ValkeyAnswers:
    """Ready when the server answers PING over its socket; it says LOADING while it reads its log."""

    socket_path: Path

    def __call__(self, _started: Started) -> bool:
        """Tell whether the answer is PONG."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PROBE_SECONDS)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:  # not there yet
                return False


@dataclass(frozen=True)
class PageAnswers:
    """Ready when a page on the loopback address answers 200."""

    port: int
    path: str

    def __call__(self, _started: Started) -> bool:
        """Tell whether it does."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", self.path, headers={"Connection": "close"})
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):  # not there yet, or busy with its start
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class FileSaysSo:
    """Ready when the process has written its own id into a file; one of an earlier process does not count."""

    path: Path

    def __call__(self, started: Started) -> bool:
        """Tell whether the file names this process."""
        try:
            return self.path.read_text().strip() == str(started.pid)
        except FileNotFoundError:
            return False


@dataclass(frozen=True)
class AliveFor:
    """Ready when it has not ended for a while; for a process that has no better sign."""

    seconds: float

    def __call__(self, started: Started) -> bool:
        """Tell whether the while has passed."""
        return time.monotonic() - started.started_at >= self.seconds
