"""The bridge driven by hand: ASGI servers that do what granian does not."""

import asyncio
import io
import threading

import pytest

from shop.resilience import wsgi_exchange
from shop.resilience.worker_pool import WorkerPool
from shop.resilience.wsgi_bridge import WSGIBridge, environ_build


def scope(**changes):
    """A minimal HTTP scope."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        **changes,
    }


async def no_body():
    """Receive nothing, ever."""
    await asyncio.Event().wait()


def chunks(_environ, start_response):
    """Answer with 100 chunks."""
    start_response("200 OK", [])
    yield from (b"x" for _ in range(100))


def test_bridge_frees_the_thread_when_the_client_takes_nothing(monkeypatch):
    """And cuts the response, should the client wake up later: a part must not pass for the whole."""
    monkeypatch.setattr(wsgi_exchange, "STALL_SECONDS", 0.1)

    async def scenario() -> None:
        pool = WorkerPool(1, 1, 5)
        sent, awake = [], asyncio.Event()

        async def stuck(message) -> None:
            sent.append(message["type"])
            if len(sent) > 1:
                await awake.wait()

        task = asyncio.create_task(WSGIBridge(chunks, pool=pool)(scope(), no_body, stuck))
        await asyncio.sleep(0.05)
        assert await asyncio.to_thread(lambda: pool.submit(int, "1").result(3)) == 1
        assert sent == ["http.response.start", "http.response.body"]
        awake.set()
        with pytest.raises(wsgi_exchange.ResponseBroken):
            await asyncio.wait_for(task, 3)
        assert len(sent) < 100
        pool.shutdown()

    asyncio.run(scenario())


@pytest.mark.parametrize("ending", ["raise", "cancel"])
def test_bridge_frees_the_thread_when_the_server_gives_up(ending):
    """Well within STALL_SECONDS, by being told."""

    async def scenario() -> None:
        pool = WorkerPool(1, 1, 5)

        async def send(message) -> None:
            if message["type"] == "http.response.body":
                if ending == "raise":
                    raise OSError("gone")
                await asyncio.Event().wait()

        task = asyncio.create_task(WSGIBridge(chunks, pool=pool)(scope(), no_body, send))
        await asyncio.sleep(0.05)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(outcome, OSError if ending == "raise" else asyncio.CancelledError)
        assert await asyncio.to_thread(lambda: pool.submit(int, "1").result(3)) == 1
        pool.shutdown()

    asyncio.run(scenario())


def serve(app, **changes):
    """Serve one request by hand and return the messages sent."""

    async def scenario():
        sent = []

        async def send(message) -> None:
            sent.append(message)

        bridge = WSGIBridge(app, pool=WorkerPool(1, 1, 5))
        await bridge(scope(**changes), no_body, send)
        assert await bridge.close(timeout_seconds=3)
        return sent

    return asyncio.run(scenario())


def test_bridge_wakes_the_loop_once_for_a_response_with_its_length(monkeypatch):
    wakeups = []
    original = wsgi_exchange.Exchange._wake

    def counted(self) -> None:
        wakeups.append(threading.current_thread())
        original(self)

    def app(_environ, start_response):
        start_response("200 OK", [("content-length", "4")])
        return [b"abcd"]

    monkeypatch.setattr(wsgi_exchange.Exchange, "_wake", counted)
    sent = serve(app)
    assert [message.get("body") for message in sent] == [None, b"abcd"]
    assert sent[1]["more_body"] is False
    assert wakeups == [threading.main_thread()]


def test_bridge_supports_the_write_callable():
    def app(_environ, start_response):
        write = start_response("200 OK", [])
        write(b"first")
        return [b"", b"second"]

    sent = serve(app)
    assert [message["body"] for message in sent[1:]] == [b"first", b"second", b""]


def test_bridge_lets_an_error_replace_headers_that_were_not_sent():
    def app(_environ, start_response):
        start_response("200 OK", [("x", "1"), ("content-length", "99")])
        try:
            raise LookupError
        except LookupError as error:
            start_response("404 Not Found", [("x", "2")], (LookupError, error, None))
        return [b"none"]

    sent = serve(app)
    assert (sent[0]["status"], sent[0]["headers"]) == (404, [(b"x", b"2")])
    assert sent[1]["body"] == b"none"


@pytest.mark.parametrize("fails", ["no_start_response", "body", "close"])
def test_bridge_closes_the_iterable_and_answers_whatever_fails(fails, caplog):
    closed = []

    class Result:
        def __iter__(self):
            if fails == "body":
                raise LookupError
            yield b"ok"

        def close(self) -> None:
            closed.append(True)
            if fails == "close":
                raise LookupError

    def app(_environ, start_response):
        if fails != "no_start_response":
            start_response("200 OK", [("Content-Length", "2")])
        return Result()

    sent = serve(app)
    assert closed == [True]
    assert sent[0]["status"] == (200 if fails == "close" else 500)
    assert "The WSGI application raised" in caplog.text


def test_bridge_closes_a_body_that_lies_in_a_file():
    bodies = []

    def app(environ, start_response):
        bodies.append(environ["wsgi.input"])
        start_response("200 OK", [("Content-Length", "0")])
        return []

    async def scenario() -> None:
        parts = [b"x" * 700_000, b"y" * 700_000]

        async def receive():
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(_message) -> None:
            return None

        bridge = WSGIBridge(app, pool=WorkerPool(1, 1, 5))
        await bridge(scope(method="POST", headers=[(b"content-length", b"1400000")]), receive, send)
        await bridge.close(timeout_seconds=3)

    asyncio.run(scenario())
    assert not isinstance(bodies[0], io.BytesIO)
    assert bodies[0].closed


def test_environ_splits_the_root_path_off():
    environ = environ_build(scope(path="/shop/%a", raw_path=b"/shop/%25a", root_path="/shop"))
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop", "/%a")
    assert environ_build(scope(path="/shop", raw_path=b"/shop", root_path="/shop"))["PATH_INFO"] == "/"


def test_environ_without_client_and_server_names_no_address():
    """As on a unix socket."""
    environ = environ_build(scope(client=None, server=None))
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("", "localhost", "80")
