"""The shoppers of a trial: they reserve, repeat the same key after a cut or a 503, poll statuses, cancel some orders."""

import asyncio
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.load.outcomes import Recorder
from tests.load.run import LoadRun, Plan
from tests.load.shop_api import API, ShopApi, reservations_path
from tests.load.wire import Messages, Request, json_text

CLIENTS = 16
QPS = 400.0
RETRIES = 200
LONGEST_WAIT_SECONDS = 0.4  # as impatient as a real crowd, whatever Retry-After says
PAUSED = b"seckill.paused"
TIMEOUT_SECONDS = 6.0  # above the store's 5 s, so that the shop and not the client gives up first
LONGEST_RUN_SECONDS = 45.0
CANCEL_SHARE = 0.1
TERMINAL = ("won", "lost")
ORDERS = "/api/v1/orders"


class Shoppers(Recorder):
    """A recorder that repeats after "paused" too, and remembers when each answer came and what each key was given."""

    def __init__(self) -> None:
        super().__init__(retries=RETRIES)
        self.accepted_at: list[float] = []  # monotonic seconds
        self.answered_at: list[float] = []
        self.given: dict[int, tuple[int, str]] = {}  # request number → (account, reservation id)
        self.told: dict[int, str] = {}  # request number → what the first 202 said of where to look
        self.interrupted: set[int] = set()  # request numbers that met a cut or a 503

    def answer(self, request: Request, seconds: float, status: int, head: bytes, body: bytes) -> float | None:
        """Count one answer; return the seconds before its repeat, None if it is final."""
        self.answered_at.append(time.monotonic())
        if status == 503:
            self.interrupted.add(request.number)
        if status == 503 and json_text(body, b"code") == PAUSED and request.attempts < self.retries:
            self.answers += 1
            self.repeats += 1
            return LONGEST_WAIT_SECONDS
        wait = super().answer(request, seconds, status, head, body)
        if status == 202:
            self.accepted_at.append(self.answered_at[-1])
            self.given[request.number] = (request.account, json_text(body, b"reservation_id").decode())
            self.told[request.number] = json_text(body, b"status_url").decode()
        return None if wait is None else min(wait, LONGEST_WAIT_SECONDS)

    def error(self, request: Request, why: str) -> float | None:
        """Count a cut; return the seconds before its repeat, None after the last."""
        self.interrupted.add(request.number)
        return super().error(request, why)


class Repeats(Messages):
    """Messages that say again what earlier requests said, byte for byte. originals: in the order of repeating."""

    def __init__(self, first: Messages, originals: Sequence[Request]) -> None:
        self._first, self._originals = first, originals

    def build(self, request: Request) -> bytes:
        """Return the bytes of the request that this one repeats."""
        return self._first.build(self._originals[request.number])


class Crowd:
    """One load run in a thread of its own."""

    def __init__(
        self, *, url: str, messages: Messages, requests: int, accounts: int, qps: float, seed: int
    ) -> None:
        self.shoppers = Shoppers()
        self.requests = requests
        plan = Plan(
            url=url,
            users=CLIENTS,
            requests=requests,
            qps=qps,
            seconds=LONGEST_RUN_SECONDS,
            accounts=accounts,
            open_loop=False,
            seed=seed,
            timeout_seconds=TIMEOUT_SECONDS,
            give_up_seconds=TIMEOUT_SECONDS,
        )
        self._run = LoadRun(plan=plan, messages=messages, recorder=self.shoppers)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="crowd", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def sending(self) -> bool:
        """Whether requests are still without a final answer."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for the last answer.

        :raises Exception: what the sending ended with
        """
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            asyncio.run(self._run.run())
        except Exception as error:  # noqa: BLE001  join raises it
            self._error = error


def crowd_of(
    *, url: str, campaign_id: int, tokens: Sequence[str], requests: int, run_id: str, seed: int
) -> tuple[Crowd, Messages]:
    """Return a crowd that wants one unit a request, its requests spread over the accounts, and its messages."""
    path = reservations_path(campaign_id)
    messages = Messages(url=url, path=path, tokens=tokens, quantity=1, run_id=run_id)
    crowd = Crowd(url=url, messages=messages, requests=requests, accounts=len(tokens), qps=QPS, seed=seed)
    return crowd, messages


def repeats_differ(*, url: str, first: Shoppers, messages: Messages) -> list[str]:
    """Repeat the key of every 202 and return what was not answered as the first time."""
    numbers = sorted(first.given)
    originals = [Request(number, first.given[number][0], 0.0) for number in numbers]
    again = Crowd(
        url=url,
        messages=Repeats(messages, originals),
        requests=len(numbers),
        accounts=len(numbers),
        qps=0.0,
        seed=0,
    )
    again.start()
    again.join()
    found = []
    for place, number in enumerate(numbers):
        before = (first.given[number][1], first.told[number])
        after = (again.shoppers.given.get(place, (0, "no 202"))[1], again.shoppers.told.get(place, ""))
        if before != after:
            found.append(f"request {number}: {before} the first time, {after} the second")
    if again.shoppers.replayed != len(numbers):
        found.append(f"{len(numbers)} keys repeated, {again.shoppers.replayed} answered as replayed")
    return found


@dataclass
class Seen:
    """What the status URL told: every change a reservation, in order; what was neither a status nor a refusal."""

    trails: dict[str, list[str]] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0


class Buyer(ShopApi):
    """The shop's API with the one call more that a watcher makes."""

    def cancel(self, number: str, *, token: str) -> int:
        """Cancel an order and return the answer's status.

        :raises OSError: no answer
        """
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            self._connection.request("POST", f"{ORDERS}/{number}/cancel/", body=b"{}", headers=headers)
            answer = self._connection.getresponse()
            answer.read()
            return answer.status
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise OSError(f"no answer to cancel: {error!r}") from error


class Watcher:
    """Polls the status of every accepted reservation, during the trial and after, and cancels some that are won."""

    def __init__(
        self, *, url: str, accepted: Callable[[], list[tuple[str, int]]], tokens: Sequence[str], seed: int
    ) -> None:
        self.seen = Seen()
        self._api, self._accepted, self._tokens = Buyer(url), accepted, tokens
        self._random = random.Random(seed)
        self._wants: dict[str, bool] = {}  # reservation → still to be cancelled
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the polling in the background."""
        self._stop.set()
        self._thread.join()

    def all_terminal(self, *, deadline_seconds: float) -> float:
        """Poll until every reservation is won or lost; return the seconds that took, more than the deadline if not."""
        started = time.monotonic()
        while True:
            for reservation_id, account in self._accepted():
                if self._last(reservation_id) not in TERMINAL:
                    self._poll(reservation_id, account)
            seconds = time.monotonic() - started
            done = all(self._last(reservation_id) in TERMINAL for reservation_id, _ in self._accepted())
            if done or seconds > deadline_seconds:
                return seconds
            time.sleep(0.05)

    def look_again(self) -> dict[str, str]:
        """Poll each reservation once more and return the last word on each."""
        for reservation_id, account in self._accepted():
            self._poll(reservation_id, account)
        self._api.close()
        return {name: trail[-1] for name, trail in self.seen.trails.items()}

    def _last(self, reservation_id: str) -> str:
        trail = self.seen.trails.get(reservation_id)
        return trail[-1] if trail else ""

    def _work(self) -> None:
        while not self._stop.wait(0.02):
            accepted = self._accepted()
            for reservation_id, account in self._random.sample(accepted, min(len(accepted), 40)):
                if self._stop.wait(0.002):
                    return
                self._poll(reservation_id, account, may_cancel=True)

    def _poll(self, reservation_id: str, account: int, *, may_cancel: bool = False) -> None:
        try:
            answer = self._api.get(f"{API}/reservations/{reservation_id}/", token=self._tokens[account])
        except OSError:  # the web process is away
            return
        status, body = answer
        if status == 503:
            return
        word = json_text(body, b"status").decode() if status == 200 else f"answer {status}"
        trail = self.seen.trails.setdefault(reservation_id, [])
        if not trail or trail[-1] != word:
            trail.append(word)
        if may_cancel and word == "won":
            self._maybe_cancel(reservation_id, account, json_text(body, b"order_number").decode())

    def _maybe_cancel(self, reservation_id: str, account: int, number: str) -> None:
        wants = self._wants.setdefault(reservation_id, self._random.random() < CANCEL_SHARE)
        if not wants:
            return
        try:
            status = self._api.cancel(number, token=self._tokens[account])
        except OSError:
            return
        if status in (200, 409):  # 409: an earlier attempt, whose answer was cut off, has cancelled it
            self._wants[reservation_id] = False
            self.seen.cancelled += 1
        elif status != 503:
            self.seen.broken[f"cancel answered {status}"] += 1
