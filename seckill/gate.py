"""The gate: what one process may answer from its own memory, without asking Valkey.

It knows whose credentials are good, how often an account asks, and of each campaign the rules and, for one
second at a time, that it is sold out or over. Whoever holds a reservation is never refused from memory.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from seckill.errors import Ended, NotSignedIn, NotStarted, RateLimited, SaleUnavailable, SoldOut
from seckill.scripts import ReserveCode, ReserveReply
from seckill.tickets import TicketInvalid, ticket_read
from shop.accounts.tokens import TokenInvalid, access_token_read
from shop.resilience.circuit_breaker import CircuitBreaker
from shop.resilience.errors import ShopError
from shop.resilience.rate_limit import SlidingWindowLimit

REFUSE_SECONDS = 1.0  # half of reopen_ms in release.lua: no process refuses whom another has admitted
FACTS_SECONDS = 1.0
HOLDERS_MAX = 200_000  # users; above that the script answers
TOKENS_MAX = 100_000
FACT_FIELDS = (
    "starts_ms", "ends_ms", "limit", "salt", "op", "phase", "left", "admitted", "card",
)  # fmt: skip


@dataclass(slots=True)
class CampaignMemory:
    """What this process knows of one campaign. `card` is JSON of the public row's fixed part."""

    campaign_id: int
    starts_ms: int
    ends_ms: int
    limit: int
    salt: bytes
    phase: str
    left: int
    card: bytes
    loaded_at: float
    as_of_ms: int
    refuse_until: float = 0.0
    refuse_with: type[ShopError] = SoldOut
    live: dict[str, tuple[Any, bytes, bytes]] = field(default_factory=dict)  # answers.live_body, by language
    holders: frozenset[int] = field(default_factory=frozenset)
    holders_admitted: int = -1


class Gate:
    """One for a process. Times are monotonic seconds unless named otherwise."""

    def __init__(self) -> None:
        self.campaigns: dict[int, CampaignMemory] = {}
        self.breaker = CircuitBreaker(failures_to_open=5, open_seconds=1.0)
        self._limit = SlidingWindowLimit(settings.SALE_RATE_LIMIT, settings.SALE_RATE_WINDOW_SECONDS)
        self._tokens: OrderedDict[bytes, tuple[int, int, int]] = OrderedDict()
        self._clock_offset_ms: float | None = None

    def credentials(self, authorization: str, *, campaign_id: int | None) -> int:
        """Return the user of `Bearer <access token>` or, for one campaign, `Ticket <ticket>`.

        :raises NotSignedIn: for everything else
        """
        now = int(time.time())
        digest = hashlib.blake2b(authorization.encode("latin-1", "replace"), digest_size=16).digest()
        known = self._tokens.get(digest)
        if known is None or known[1] <= now:
            known = self._read_credentials(authorization, now)
            if len(self._tokens) >= TOKENS_MAX:
                self._tokens.popitem(last=False)
            self._tokens[digest] = known
        user_id, _, bound_to = known
        if bound_to and bound_to != campaign_id:
            raise NotSignedIn
        return user_id

    @staticmethod
    def _read_credentials(authorization: str, now: int) -> tuple[int, int, int]:
        scheme, _, value = authorization.partition(" ")
        try:
            if scheme.lower() == "bearer":
                token = access_token_read(value)
                return token.user_id, token.expires, 0
            if scheme.lower() == "ticket":
                ticket = ticket_read(value, now=now)
                return ticket.user_id, ticket.expires, ticket.campaign_id
        except (TokenInvalid, TicketInvalid) as error:
            raise NotSignedIn from error
        raise NotSignedIn

    def check_rate(self, user_id: int, now: float) -> None:
        """Count one reservation request of an account.

        :raises RateLimited: too many in the window; tells how long to wait
        """
        wait_seconds = self._limit.check(user_id, now)
        if wait_seconds > 0:
            raise RateLimited(retry_after_seconds=int(wait_seconds) + 1)

    def check_campaign(self, memory: CampaignMemory, user_id: int, now: float) -> None:
        """Refuse what memory can refuse safely.

        :raises NotStarted, SoldOut, Ended, SaleUnavailable: nothing was asked of Valkey
        """
        if self._clock_offset_ms is not None and now * 1000 + self._clock_offset_ms < memory.starts_ms:
            raise NotStarted
        if now < memory.refuse_until and user_id not in memory.holders:
            raise memory.refuse_with
        if not self.breaker.allow(now):
            raise SaleUnavailable

    def now_ms(self, now: float) -> int:
        """Return Valkey's clock as this process knows it, the system's before the first reply."""
        if self._clock_offset_ms is None:
            return int(time.time() * 1000)
        return int(now * 1000 + self._clock_offset_ms)

    def learn_clock(self, server_ms: int, sent_at: float) -> None:
        """Take over Valkey's clock: early by at most the round trip, so nobody is told "not yet" too late."""
        self._clock_offset_ms = server_ms - sent_at * 1000

    def learn_reply(self, memory: CampaignMemory, reply: ReserveReply, sent_at: float) -> bool:
        """Learn from a script's reply; return whether the holders should be read to refuse from memory."""
        self.learn_clock(reply.now_ms, sent_at)
        if reply.left < 0:
            self.campaigns.pop(memory.campaign_id, None)
            return False
        memory.left, memory.as_of_ms = reply.left, reply.now_ms
        over = ReserveCode.ENDED in reply.codes
        if not over and reply.left > 0:
            return False
        if reply.admitted > HOLDERS_MAX:
            return False
        memory.refuse_with = Ended if over else SoldOut
        if reply.admitted == memory.holders_admitted:
            memory.refuse_until = sent_at + REFUSE_SECONDS
            return False
        return True

    def learn_holders(
        self, memory: CampaignMemory, users: Iterable[bytes], *, admitted: int, sent_at: float
    ) -> None:
        """Take over who holds a record, as read after a reply that said sold out or ended (sent at `sent_at`)."""
        memory.holders = frozenset(int(user) for user in users)
        memory.holders_admitted = admitted
        memory.refuse_until = sent_at + REFUSE_SECONDS

    def learn_facts(
        self, campaign_id: int, values: list[bytes | None], server_time: list[bytes], sent_at: float
    ) -> CampaignMemory | None:
        """Take over a campaign's hash (`FACT_FIELDS`); None when it is gone, which means paused, never sold out."""
        now_ms = int(server_time[0]) * 1000 + int(server_time[1]) // 1000
        self.learn_clock(now_ms, sent_at)
        # Operation 1 opens a campaign after its publication is committed: before that it is nobody's business.
        if any(value is None for value in values) or values[4] == b"0":
            self.campaigns.pop(campaign_id, None)
            return None
        starts, ends, limit, salt, _op, phase, left, _admitted, card = (value or b"" for value in values)
        memory = self.campaigns.get(campaign_id)
        if memory is None:
            memory = CampaignMemory(campaign_id, 0, 0, 0, b"", "", 0, b"", 0.0, 0)
            self.campaigns[campaign_id] = memory
        memory.starts_ms, memory.ends_ms, memory.limit = int(starts), int(ends), int(limit)
        memory.salt, memory.phase, memory.left, memory.card = salt, phase.decode(), int(left), card
        memory.loaded_at, memory.as_of_ms = sent_at, now_ms
        return memory
