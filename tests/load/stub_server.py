"""A stand-in for the reservation call, to test the driver against: right by default, wrong on request.

`python -m tests.load.stub_server --port 8199` serves it alone, to measure the driver's own CPU time.
"""

import argparse
import asyncio
import hashlib
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass
class Faults:
    """Every how many requests something goes wrong; 0 is never."""

    unknown_every: int = 0  # accepted, but the client is told 503 seckill.unknown
    cut_every: int = 0  # accepted, then the connection is cut without an answer
    busy_every: int = 0  # refused 503 seckill.busy with nothing done
    broken_every: int = 0  # 500
    chunked: bool = False  # answers without Content-Length
    same_id: bool = False  # every 202 names the same reservation
    delay_seconds: float = 0.0


class Shop:
    """Decides reservations in memory as the real call does: replay first, then limit, then stock."""

    def __init__(self, *, units: int, limit: int, faults: Faults | None = None) -> None:
        self.units, self.limit = units, limit
        self.faults = faults or Faults()
        self.left = units
        self.requests = 0
        self.taken: dict[bytes, int] = {}
        self.reservations: dict[bytes, bytes] = {}  # reservation id → user

    def reserve(self, user: bytes, key: bytes, quantity: int) -> tuple[int, bytes, bool]:
        """Return (status, body, replayed)."""
        digest = hashlib.sha256(user + b"|" + key).hexdigest()[:26].encode()
        reservation = b"1-" + (b"a" * 26 if self.faults.same_id else digest)
        body = b'{"reservation_id":"%s","status":"queued","poll_after_ms":500}' % reservation
        if b"1-" + digest in self.reservations:
            return 202, body, True
        if self.taken.get(user, 0) + quantity > self.limit:
            return 409, b'{"code":"seckill.limit_reached","message":"","extra":{}}', False
        if self.left < quantity:
            return 409, b'{"code":"seckill.sold_out","message":"","extra":{}}', False
        self.left -= quantity
        self.taken[user] = self.taken.get(user, 0) + quantity
        self.reservations[b"1-" + digest] = user
        return 202, body, False


class StubProtocol(asyncio.Protocol):
    """Reads one small request at a time from a kept-alive connection."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer when head and body are there; bodies are `{"quantity":N}`."""
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or (head.startswith(b"POST") and not body.endswith(b"}")):
            return
        self.buffer = b""
        delay = self.shop.faults.delay_seconds
        if delay:
            asyncio.get_running_loop().call_later(delay, self.answer, head, body)
        else:
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Decide, or go wrong as the faults say."""
        if head.startswith(b"GET"):
            self.write(200, b'{"left":%d,"state":"live"}' % self.shop.left, b"")
            return
        shop, faults = self.shop, self.shop.faults
        shop.requests += 1
        if _hits(faults.busy_every, shop.requests):
            self.write(503, b'{"code":"seckill.busy"}', b"retry-after: 0\r\n")
            return
        if _hits(faults.broken_every, shop.requests):
            self.write(500, b'{"code":"error"}', b"")
            return
        quantity = int(body.rpartition(b":")[2].rstrip(b"}"))
        status, text, replayed = shop.reserve(
            _header(head, b"Bearer "), _header(head, b"Idempotency-Key: "), quantity
        )
        if _hits(faults.cut_every, shop.requests):
            self.transport.abort()
        elif _hits(faults.unknown_every, shop.requests):
            self.write(503, b'{"code":"seckill.unknown"}', b"retry-after: 0\r\n")
        else:
            self.write(status, text, b"idempotency-replayed: true\r\n" if replayed else b"")

    def write(self, status: int, body: bytes, more: bytes) -> None:
        """Send one answer."""
        if self.shop.faults.chunked:
            framing, body = b"transfer-encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            framing = b"content-length: %d\r\n" % len(body)
        self.transport.write(b"HTTP/1.1 %d X\r\n%s%s\r\n%s" % (status, more, framing, body))


def _hits(every: int, count: int) -> bool:
    return every > 0 and count % every == 0


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(name)[2].partition(b"\r\n")[0]


async def stub_started(shop: Shop, *, port: int = 0) -> asyncio.Server:
    """Serve the shop on a loopback port of the running loop (0: any free one)."""
    return await asyncio.get_running_loop().create_server(lambda: StubProtocol(shop), "127.0.0.1", port)


async def _serve(port: int, units: int) -> None:
    server = await stub_started(Shop(units=units, limit=2), port=port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--units", type=int, default=1_000_000_000)
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.units))
