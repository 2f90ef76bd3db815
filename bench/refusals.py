"""S4: answers that cost no unit (sold out, too many, not available, live numbers, status) against the empty reply."""

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.client import load_run
from bench.rows import Row, median_row, not_measured
from bench.servers import GranianServer
from bench.stack import SETTLE_SECONDS, SaleStack
from bench.subjects import CONNECTIONS, SERVER, Empty
from bench.turns import CpuClock, Say, Turn, Turns, interleave, quotients, require, values
from bench.wrk import WrkResult, wrk_missing, wrk_read
from seckill import keys
from tests.load.shop_api import API, reservations_path
from tests.services.processes import wait_until

FEW_ACCOUNTS = 200  # all of them over their limit after one request
SHOPPERS = 1_000  # with a reservation each, whose status is asked for


def answer_of(
    url: str, path: str, *, token: str = "", body: bytes = b"", key: str = "probe"
) -> tuple[int, str]:
    """Return status and error code of one call; POST where there is a body."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=SETTLE_SECONDS)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body:
        headers |= {"Content-Type": "application/json", "Idempotency-Key": key}
    try:
        connection.request("POST" if body else "GET", path, body or None, headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        return answer.status, str(found.get("code", ""))
    finally:
        connection.close()


@dataclass
class Refused:
    """Reservations that are all refused alike. wanted: status and code of every answer.

    admitted: reads how many were admitted, which no refusal may change.
    """

    name: str
    server: GranianServer
    path: str
    tokens: Path
    token: str
    wanted: tuple[int, str]
    admitted: Callable[[], int]

    def probe(self) -> tuple[int, str]:
        """Ask once."""
        return answer_of(self.server.url, self.path, token=self.token, body=b'{"quantity":1}')

    def turn(self, seconds: int) -> Turn:
        """Be refused for some seconds; what one asks before and after tells which refusal it was."""
        self._require_wanted("before")
        admitted = self.admitted()
        clock = CpuClock({SERVER: self.server.pid})
        result = load_run(
            url=self.server.url, path=self.path, seconds=seconds, connections=CONNECTIONS, tokens=self.tokens
        )
        turn = _answers(result, clock)
        self._require_wanted("after")
        require(result.requests > 0 and result.broken == 0, f"{self.name}: {result.broken} connections broke")
        require(result.accepted == 0, f"{self.name}: {result.accepted} of {result.requests} were not refused")
        require(self.admitted() == admitted, f"{self.name}: {self.admitted() - admitted} units were taken")
        return turn

    def _require_wanted(self, when: str) -> None:
        found = self.probe()
        require(
            found == self.wanted, f"{self.name}: {when} the turn the answer was {found}, not {self.wanted}"
        )


@dataclass
class Read:
    """GETs that are all answered 200."""

    name: str
    server: GranianServer
    requests: Path
    check: Callable[[], bool] = field(default=lambda: True)

    def turn(self, seconds: int) -> Turn:
        """Be read for some seconds."""
        require(self.check(), f"{self.name}: the answer before the turn is not as it should be")
        clock = CpuClock({SERVER: self.server.pid})
        result = wrk_read(
            url=self.server.url, requests=self.requests, seconds=seconds, connections=CONNECTIONS
        )
        turn = _answers(result, clock)
        found = f"{result.refused} refusals and {result.broken} broken connections"
        require(result.requests > 0 and result.refused == 0 and result.broken == 0, f"{self.name}: {found}")
        require(self.check(), f"{self.name}: the answer after the turn is not as it should be")
        return turn


def _answers(result: WrkResult, clock: CpuClock) -> Turn:
    return Turn(count=result.requests, seconds=result.seconds, cpu_seconds=clock.read())


def refusal_rows(stack: SaleStack, *, pairs: int, seconds: int, say: Say) -> list[Row]:
    """S4, all of it. The 503 comes last: Valkey is stopped for it."""
    limits = {"SALE_RATE_LIMIT": "1", "SALE_RATE_WINDOW_SECONDS": "7200"}
    with GranianServer() as empty_server, stack.web_server(limits) as strict_server:
        empty = Empty(empty_server)
        subjects = [_sold_out(stack), _too_many(stack, strict_server)]
        refused = interleave([*subjects, empty], pairs=pairs, seconds=seconds, say=say)
        reads = _read_rows(stack, empty_server, pairs=pairs, seconds=seconds, say=say)
        unavailable = _unavailable(stack)
        try:
            refused_blind = interleave([unavailable, empty], pairs=pairs, seconds=seconds, say=say)
        finally:
            stack.sale_start_again()
            # The same key, so this is a replay; it also closes the breaker for the benchmarks that follow.
            wait_until(
                lambda: unavailable.probe() == (202, ""),
                deadline_seconds=SETTLE_SECONDS,
                what="the sale's return",
            )
    rows = [_row(subject.name, refused, empty.name, 0.90, 0.97) for subject in subjects]
    rows.append(_row(unavailable.name, refused_blind, empty.name, 0.90, 0.97))
    return [
        *rows,
        *reads,
        *_cpu_rows(refused),
        *_cpu_rows({unavailable.name: refused_blind[unavailable.name]}),
    ]


def _row(name: str, turns: Turns, empty: str, must: float, stretch: float) -> Row:
    rounds = quotients(turns, name, empty, lambda turn: turn.per_second)
    return median_row("S4", f"answers/s, {name} ÷ {empty}", rounds, must=must, stretch=stretch, at_least=True)


def _cpu_rows(turns: Turns) -> list[Row]:
    return [
        median_row(
            "S4", f"  {name}: CPU an answer, {SERVER}", values(found, lambda t: t.cpu_us(SERVER)), unit="µs"
        )
        for name, found in turns.items()
    ]


def _admitted(stack: SaleStack, campaign_id: int) -> Callable[[], int]:
    return lambda: int(stack.client.hget(keys.campaign_key(campaign_id), "admitted") or 0)


def _sold_out(stack: SaleStack) -> Refused:
    """Sell a campaign of one unit to the last account, which the load leaves out."""
    campaign_id = stack.campaign_fresh(allotment=1)
    path = reservations_path(campaign_id)
    buyer = answer_of(stack.web.url, path, token=stack.tokens[-1], body=b'{"quantity":1}')
    require(buyer == (202, ""), f"the only unit was not sold: {buyer}")
    return Refused(
        name="sold out (409)",
        server=stack.web,
        path=path,
        tokens=stack.lines_file("tokens-others", stack.tokens[:-1]),
        token=stack.tokens[0],
        wanted=(409, "seckill.sold_out"),
        admitted=_admitted(stack, campaign_id),
    )


def _too_many(stack: SaleStack, server: GranianServer) -> Refused:
    """Use the one request that each account has, in a campaign beside the sold-out one."""
    campaign_id = stack.campaign_add()
    path = reservations_path(campaign_id)
    tokens = stack.tokens[:FEW_ACCOUNTS]
    for number, token in enumerate(tokens):
        found = answer_of(server.url, path, token=token, body=b'{"quantity":1}', key=f"first-{number}")
        require(found == (202, ""), f"the first request of an account was answered {found}")
    return Refused(
        name="too many requests (429)",
        server=server,
        path=path,
        tokens=stack.lines_file("tokens-few", tokens),
        token=tokens[0],
        wanted=(429, "rate_limited"),
        admitted=_admitted(stack, campaign_id),
    )


def _unavailable(stack: SaleStack) -> Refused:
    """Stop Valkey under a campaign that the process knows, and wait until its circuit breaker is open."""
    campaign_id = stack.campaign_fresh()
    subject = Refused(
        name="not available (503)",
        server=stack.web,
        path=reservations_path(campaign_id),
        tokens=stack.tokens_path,
        token=stack.tokens[0],
        wanted=(503, "seckill.unavailable"),
        admitted=lambda: 1,  # the one below: nobody can be admitted without a server
    )
    found = subject.probe()
    require(found == (202, ""), f"before Valkey stopped the answer was {found}")
    stack.sale.stop()
    wait_until(
        lambda: subject.probe() == subject.wanted, deadline_seconds=SETTLE_SECONDS, what="the refusals"
    )
    return subject


def _read_rows(
    stack: SaleStack, empty_server: GranianServer, *, pairs: int, seconds: int, say: Say
) -> list[Row]:
    """Return the rows of live numbers and status polls."""
    wanted = {"live numbers": (0.80, 0.90), "status poll": (0.55, 0.70)}
    reason = wrk_missing()
    if reason is not None:
        return [not_measured("S4", f"answers/s, {name} ÷ empty reply", reason) for name in wanted]
    campaign_id = stack.campaign_fresh()
    live = f"{API}/campaigns/{campaign_id}/live/"
    polls = _reservations(stack, campaign_id)
    path, _, token = polls[0].partition(" ")
    subjects = [
        Read("live numbers", stack.web, stack.lines_file("live", [live]), _is_200(stack.web, live)),
        Read("status poll", stack.web, stack.lines_file("polls", polls), _is_200(stack.web, path, token)),
        Read("empty reply", empty_server, stack.lines_file("empty", ["/"])),
    ]
    turns = interleave(subjects, pairs=pairs, seconds=seconds, say=say)
    rows = [_row(name, turns, "empty reply", *bounds) for name, bounds in wanted.items()]
    return [*rows, *_cpu_rows({name: turns[name] for name in wanted})]


def _is_200(server: GranianServer, path: str, token: str = "") -> Callable[[], bool]:
    return lambda: answer_of(server.url, path, token=token) == (200, "")


def _reservations(stack: SaleStack, campaign_id: int) -> list[str]:
    """Make reservations and return one line each: the path of its status and its owner's token."""
    from seckill.services.reservations import reservation_create

    lines = []
    for user_id, token in list(zip(stack.user_ids, stack.tokens, strict=True))[:SHOPPERS]:
        made = reservation_create(campaign_id=campaign_id, user_id=user_id, quantity=1, key="poll")
        lines.append(f"{API}/reservations/{made.reservation_id}/ {token}")
    return lines
