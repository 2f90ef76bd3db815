"""Applications served by granian: for the bridge's tests, and for the comparison in docs/adr/0004-wsgi-bridge.md."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import django
from a2wsgi import WSGIMiddleware
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from shop.resilience.worker_pool import WorkerPool
from shop.resilience.wsgi_bridge import WSGIBridge

Environ = dict[str, Any]
NOTES = Path(os.environ.get("BRIDGE_NOTES", os.devnull))  # where the applications tell the test what happened


def note(text: str) -> None:
    """Append a line to the notes."""
    with NOTES.open("a") as notes:
        notes.write(text + "\n")


def environ_told(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the strings of the environ and the length of the body."""
    told = {key: value for key, value in environ.items() if isinstance(value, str)}
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    answer = json.dumps(told).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]


def headers_told(_environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer 418 with headers that a careless bridge would merge or alter."""
    headers = [
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2, c"),
        ("X-Latin", "caf\xe9"),
        ("Content-Length", "3"),
    ]
    start_response("418 I'm a teapot", headers)
    return [b"pot and more than promised"]


def held(_environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Hold the thread until the test makes the file "go" beside the notes, then answer."""
    note("held begins")
    end = time.monotonic() + 20
    while not NOTES.with_name("go").exists() and time.monotonic() < end:
        time.sleep(0.01)
    note("held ends")
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]


def slow(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Hold the thread for as many seconds as the query says, then answer."""
    note("slow begins")
    time.sleep(float(environ["QUERY_STRING"]))
    note("slow ends")
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]


def hashed(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the body's length, read piece by piece."""
    size = 0
    while piece := environ["wsgi.input"].read(65536):
        size += len(piece)
    note(f"body {size}")
    start_response("200 OK", [])
    return [str(size).encode()]


class Stream:
    """A body of endless chunks, or of as many as the query says; notes its close."""

    def __init__(self, count: int, gap_seconds: float) -> None:
        self.count, self.gap_seconds = count, gap_seconds

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.count):
            time.sleep(self.gap_seconds)
            yield b"%d," % number

    def close(self) -> None:
        """Note that the server has closed the iterable."""
        note("stream closed")


def streamed(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with chunks: `count;gap_seconds` in the query."""
    count, gap_seconds = environ["QUERY_STRING"].split(";")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Stream(int(count), float(gap_seconds))


def raises(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Raise: at once, or after a first chunk when the query says "late"."""
    if environ["QUERY_STRING"] != "late":
        raise LookupError("at once")
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    raise LookupError("late")


def empty(_environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer two bytes: what remains is the cost of server and bridge."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


ROUTES = {
    "headers": headers_told,
    "held": held,
    "slow": slow,
    "hashed": hashed,
    "streamed": streamed,
    "raises": raises,
    "empty": empty,
}


def everything(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Route by the last part of the path."""
    return ROUTES.get(environ["PATH_INFO"].rpartition("/")[2], environ_told)(environ, start_response)


# For the tests: small bounds, so that they are reached at once.
everything_bridge = WSGIBridge(
    everything,
    pool=WorkerPool(threads=2, queue_max=1, max_wait_seconds=2.0, name="wsgi"),
    max_body_bytes=2 * 1024 * 1024,
    body_seconds=2.0,
)


def empty_view(_request: HttpRequest) -> HttpResponse:
    """Answer two bytes."""
    return HttpResponse(b"ok")


urlpatterns = [path("", empty_view)]


def _django() -> Callable[..., Iterable[bytes]]:
    if not settings.configured:
        settings.configure(
            SECRET_KEY="for-measuring-only" * 3,
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        )
        django.setup()
    return get_wsgi_application()


def _with_a2wsgi(app: Callable[..., Iterable[bytes]]) -> WSGIMiddleware:
    middleware = WSGIMiddleware(app, workers=2)  # type: ignore[arg-type]  its own stricter protocol
    middleware.executor = WorkerPool(threads=2, queue_max=1000, max_wait_seconds=30)  # type: ignore[assignment]
    return middleware


def __getattr__(name: str) -> Any:
    """Return one of the compared servers: {empty,view}_{plain,a2wsgi,bridge}."""
    kind, _, door = name.partition("_")
    if kind not in ("empty", "view") or door not in ("plain", "a2wsgi", "bridge"):
        raise AttributeError(name)
    app = _django() if kind == "view" else empty
    if door == "plain":
        return app
    if door == "a2wsgi":
        return _with_a2wsgi(app)
    return WSGIBridge(app, pool=WorkerPool(threads=2, queue_max=1000, max_wait_seconds=30))
