"""A proxy before Valkey that can lose one script's answer: the script runs, the caller never hears of it."""

import socket
import threading
from pathlib import Path
from typing import Self

from tests.services.processes import short_directory


class CuttingProxy:
    """Listens on a unix socket of its own and forwards bytes both ways."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._directory = short_directory("cut-")
        self.socket_path = self._directory / "cut.sock"
        self._cut = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        """The address to give to a client."""
        return f"unix://{self.socket_path}?db=0"

    def cut_next_script(self, armed: bool) -> None:
        """Lose the answer to the next EVALSHA or EVAL that comes through, once."""
        self._cut = self._cut or armed

    def __enter__(self) -> Self:
        self._listener.bind(str(self.socket_path))
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.close_stores()
        self.socket_path.unlink(missing_ok=True)
        self._directory.rmdir()

    def close_stores(self) -> None:
        """End every connection, so that no client keeps one to a proxy that goes away."""
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._target))
            self._open += [client, server]
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """Forward one request and its answer at a time, which is how the stores speak."""
        try:
            while request := client.recv(1 << 20):
                server.sendall(request)
                answer = server.recv(1 << 20)
                # An unknown digest is not the script's answer: it is sent again whole.
                if self._cut and b"EVAL" in request and not answer.startswith(b"-NOSCRIPT"):
                    self._cut = False
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer)
        except OSError:  # one side has gone; the other learns of it below
            return
        finally:
            client.close()
            server.close()
