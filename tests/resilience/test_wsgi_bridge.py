"""The bridge behind a real granian: what clients see when they or the threads misbehave."""

import http.client
import json
import re
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest

from tests.services.processes import Child, free_port, port_is_open, wait_until

ROOT = Path(__file__).parents[2]
BODY_MAX_BYTES = 2 * 1024 * 1024


class Served:
    """A granian that serves one application of bridge_apps."""

    def __init__(self, directory: Path, interface: str, application: str) -> None:
        self.port, self.notes = free_port(), directory / "notes"
        self.notes.touch()
        # The module, not the script on PATH: it is the interpreter that runs the tests.
        command = [sys.executable, "-m", "granian", "--interface", interface, "--workers", "1"]
        command += ["--port", str(self.port), f"tests.resilience.bridge_apps:{application}"]
        environment = {"BRIDGE_NOTES": str(self.notes), "PYTHONPATH": str(ROOT)}
        self.child = Child(command, log_path=directory / "log", environment=environment, directory=ROOT)
        self.child.start()
        what = f"granian with {application}"
        wait_until(lambda: port_is_open(self.port), deadline_seconds=20, what=what, child=self.child)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def dial(self, request: str, body: bytes = b"") -> socket.socket:
        """Send bytes as they are; lines end with CR LF, an empty one ends the headers."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(request.replace("\n", "\r\n").encode() + body)
        return connection

    def noted(self, text: str) -> int:
        """Return how often the applications noted the text."""
        return self.notes.read_text().splitlines().count(text)

    def go(self) -> None:
        """Let the applications that are held answer."""
        self.notes.with_name("go").touch()

    def wait_noted(self, text: str, count: int = 1) -> None:
        """Wait until the text has been noted so often."""
        wait_until(lambda: self.noted(text) >= count, deadline_seconds=10, what=f"{text} x {count}")


def _served(directory: Path, interface: str, application: str) -> Iterator[Served]:
    served = Served(directory, interface, application)
    yield served
    served.child.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same application as plain WSGI."""
    yield from _served(tmp_path_factory.mktemp("plain"), "wsgi", "everything")


@pytest.fixture
def bridge(tmp_path):
    """A bridge of its own for each test: most of them leave its threads busy."""
    yield from _served(tmp_path, "asgi", "everything_bridge")


def first_line(connection: socket.socket) -> str:
    """Return the status line, or "" when the server closed the connection without one."""
    with connection.makefile("rb") as answer:
        return answer.readline().decode().strip()


def whole(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection."""
    with connection.makefile("rb") as answer:
        return answer.read()


def test_bridge_gives_the_application_what_plain_wsgi_gives(bridge, plain):
    path = "/%E4%B8%AD%ff/a%2Fb?x=%20y&z"
    headers = {"Host": "shop.example:8443", "X-Two": "a,b", "Cookie": "a=1", "Content-Type": "text/x"}

    def told(served: Served) -> dict[str, str]:
        status, _headers, answer = served.ask(path, method="POST", body=b"abc", headers=headers)
        assert status == 200
        keys = re.compile(
            r"HTTP_|CONTENT_|REQUEST_|PATH_|QUERY_|SCRIPT_|REMOTE_ADDR|SERVER_PROTOCOL|wsgi\.url|body"
        )
        return {key: value for key, value in json.loads(answer).items() if keys.match(key)}

    through = told(bridge)
    assert through == told(plain)
    assert through["PATH_INFO"] == "/中".encode().decode("latin-1") + "\xff/a/b"
    assert (through["REMOTE_ADDR"], through["HTTP_HOST"]) == ("127.0.0.1", "shop.example:8443")
    assert (through["CONTENT_LENGTH"], through["body"], through["wsgi.url_scheme"]) == ("3", "abc", "http")


def test_bridge_joins_repeated_headers_and_drops_those_with_underscores(bridge):
    request = (
        "GET /x HTTP/1.1\nHost: h\nX-Forwarded-For: 1.1.1.1\nX_Forwarded_For: 6.6.6.6\nX-Two: a\nX-Two: b\n"
    )
    with bridge.dial(request + "Cookie: a=1\nCookie: b=2\nConnection: close\n\n") as connection:
        told = json.loads(whole(connection).partition(b"\r\n\r\n")[2])
    assert (told["HTTP_X_FORWARDED_FOR"], told["HTTP_X_TWO"]) == ("1.1.1.1", "a,b")
    assert told["HTTP_COOKIE"] == "a=1; b=2"


def test_bridge_passes_status_and_headers_verbatim(bridge):
    with bridge.dial("GET /headers HTTP/1.1\nHost: h\nConnection: close\n\n") as connection:
        head, _, body = whole(connection).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 418 ")
    added = (b"date:", b"server:", b"connection:")
    assert sorted(line for line in lines[1:] if not line.startswith(added)) == [
        b"content-length: 3",
        b"set-cookie: a=1; Path=/",
        b"set-cookie: b=2, c",
        b"x-latin: caf\xe9",
    ]
    assert body == b"pot"


def test_bridge_gives_chunked_bodies_a_length(bridge):
    chunked = (
        "POST /x HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\nConnection: close\n\n3\nabc\n2\nde\n0\n\n"
    )
    with bridge.dial(chunked) as connection:
        told = json.loads(whole(connection).partition(b"\r\n\r\n")[2])
    assert (told["CONTENT_LENGTH"], told["body"]) == ("5", "abcde")


def test_bridge_keeps_the_connection_for_the_next_request(bridge):
    connection = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=10)
    for method, body in (("GET", None), ("POST", b"x" * 100_000), ("GET", None), ("POST", b"")):
        connection.request(method, "/hashed", body)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, str(len(body or b"")).encode())
    connection.close()


def test_bridge_takes_a_body_up_to_its_bound_and_refuses_one_byte_more(bridge):
    status, _headers, answer = bridge.ask("/hashed", method="POST", body=b"x" * BODY_MAX_BYTES)
    assert (status, answer) == (200, str(BODY_MAX_BYTES).encode())

    with bridge.dial(
        f"POST /api/hashed HTTP/1.1\nHost: h\nContent-Length: {BODY_MAX_BYTES + 1}\n\n"
    ) as connection:
        response = whole(connection)
    assert response.startswith(b"HTTP/1.1 413 ")
    assert json.loads(response.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"
    assert bridge.noted(f"body {BODY_MAX_BYTES}") == 1
    assert bridge.noted(f"body {BODY_MAX_BYTES + 1}") == 0


def test_bridge_bounds_a_chunked_body_that_tells_no_length(bridge):
    head = "POST /hashed HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n"
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with bridge.dial(head, chunk * 2 + b"1\r\nx\r\n") as connection:
        assert first_line(connection) == "HTTP/1.1 413 Payload Too Large"
    assert bridge.notes.read_text() == ""


@pytest.mark.parametrize("broken", [b"3\r\nabc\r\nZZ\r\n", b"ZZ\r\n"])
def test_bridge_answers_400_to_a_broken_chunk(bridge, broken):
    head = "POST /api/hashed HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n"
    with bridge.dial(head, broken) as connection:
        response = whole(connection)
    assert response.startswith(b"HTTP/1.1 400 ")
    refusal = json.loads(response.partition(b"\r\n\r\n")[2])
    assert len(refusal["extra"].pop("request_id")) == 32
    assert refusal == {
        "code": "malformed",
        "message": "The request body is incomplete or broken.",
        "extra": {},
    }
    assert bridge.notes.read_text() == ""


def test_bridge_never_shows_the_application_a_body_that_was_cut(bridge):
    with bridge.dial("POST /hashed HTTP/1.1\nHost: h\nContent-Length: 10\n\n", b"abc") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert first_line(connection) in ("HTTP/1.1 400 Bad Request", "")
    assert bridge.ask("/hashed", method="POST", body=b"abcd")[2] == b"4"
    assert bridge.notes.read_text() == "body 4\n"


def test_bridge_lets_no_slow_upload_hold_a_thread(bridge):
    uploads = [
        bridge.dial("POST /hashed HTTP/1.1\nHost: h\nContent-Length: 10\n\n", b"abc") for _ in range(8)
    ]
    assert bridge.ask("/empty")[2] == b"ok"
    assert [first_line(upload) for upload in uploads] == ["HTTP/1.1 408 Request Timeout"] * 8
    for upload in uploads:
        upload.close()
    assert bridge.notes.read_text() == ""


def test_bridge_answers_503_when_the_queue_is_full(bridge):
    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(bridge.ask, "/held") for _ in range(4)]
        first = next(as_completed(asked))  # 2 run and 1 waits, so it can only be the fourth's refusal
        status, headers, body = bridge.ask("/api/empty")
        page_status, page_headers, page = first.result()
        bridge.go()
        assert sorted(one.result(10)[0] for one in asked) == [200, 200, 200, 503]
    assert (status, headers["Retry-After"], headers["Content-Type"]) == (503, "1", "application/json")
    assert json.loads(body) == {
        "code": "busy",
        "message": "Too many are asking at this moment. Try again shortly.",
        "extra": {"request_id": headers["X-Request-Id"]},
    }
    assert (page_status, page_headers["Retry-After"]) == (503, "1")
    assert page_headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"<p>Too many are asking" in page
    assert bridge.ask("/empty")[0] == 200


def test_bridge_never_starts_a_request_that_waited_too_long(bridge):
    with ThreadPoolExecutor(3) as clients:
        holding = [clients.submit(bridge.ask, "/held") for _ in range(2)]
        bridge.wait_noted("held begins", 2)
        late = clients.submit(bridge.ask, "/api/slow?0")
        status, headers, body = late.result(10)  # at its deadline, while both threads are still held
        assert bridge.noted("held ends") == 0
        bridge.go()
        assert (status, headers["Retry-After"], json.loads(body)["code"]) == (503, "1", "busy")
        assert [one.result(10)[2] for one in holding] == [b"done", b"done"]
    assert bridge.noted("slow begins") == 0


def test_bridge_keeps_its_threads_when_clients_leave(bridge):
    for number in range(3):
        leaving = [bridge.dial("GET /slow?0.2 HTTP/1.1\nHost: h\n\n") for _ in range(2)]
        bridge.wait_noted("slow begins", 2 * (number + 1))
        for client in leaving:
            client.close()
        bridge.wait_noted("slow ends", 2 * (number + 1))
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(bridge.ask, "/held") for _ in range(2)]
        bridge.wait_noted("held begins", 2)  # at the same time, so both threads still work
        assert bridge.noted("held ends") == 0
        bridge.go()
        assert [one.result(10)[0] for one in asked] == [200, 200]


def test_bridge_streams_chunk_by_chunk(bridge):
    connection = bridge.dial("GET /streamed?1000000;0.01 HTTP/1.1\nHost: h\n\n")
    with connection, connection.makefile("rb") as answer:
        while answer.readline() != b"2\r\n":
            pass
        assert answer.read(2) == b"0,"  # although the last chunk is hours away
    _status, headers, body = bridge.ask("/streamed?5000;0")
    assert body == b"".join(b"%d," % number for number in range(5000))
    assert headers["Content-Length"] is None
    bridge.wait_noted("stream closed", 2)


def test_bridge_ends_a_stream_whose_client_has_gone(bridge):
    """Two endless streams would otherwise keep both threads for ever."""
    for _ in range(2):
        with bridge.dial("GET /streamed?1000000;0.01 HTTP/1.1\nHost: h\n\n") as connection:
            assert first_line(connection) == "HTTP/1.1 200 OK"
    bridge.wait_noted("stream closed", 2)
    assert bridge.ask("/empty")[2] == b"ok"


def test_bridge_answers_500_when_the_application_raises(bridge):
    status, _headers, body = bridge.ask("/api/raises")
    assert (status, json.loads(body)["code"]) == (500, "error")
    assert "LookupError: at once" in bridge.child.log_tail()
    assert bridge.ask("/raises")[0] == 500


def test_bridge_cuts_a_response_that_fails_in_the_middle(bridge):
    with bridge.dial("GET /raises?late HTTP/1.1\nHost: h\n\n") as connection:
        answer = whole(connection)  # ends only because the connection does
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert not answer.endswith(b"0\r\n\r\n"), "a complete chunked body, as if nothing had happened"
    assert bridge.ask("/empty")[2] == b"ok"


def test_bridge_finishes_the_running_request_at_shutdown(bridge):
    with ThreadPoolExecutor(1) as clients:
        running = clients.submit(bridge.ask, "/slow?0.5")
        bridge.wait_noted("slow begins")
        bridge.child.stop()
        running.exception(10)
    assert bridge.noted("slow ends") == 1
