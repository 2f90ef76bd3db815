"""The gate's memory: what it refuses without asking, for how long, and whom it never refuses."""

import time
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from seckill import gate as gate_module
from seckill.errors import Ended, NotSignedIn, NotStarted, RateLimited, SaleUnavailable, SoldOut
from seckill.gate import CampaignMemory, Gate
from seckill.scripts import ReserveCode, ReserveReply
from seckill.tickets import ticket_mint
from shop.site.load_accounts import access_tokens

HELD_BY = 5
SENT_AT = 1_000.0  # monotonic seconds
SERVER_MS = 1_800_000_000_000


@pytest.fixture
def gate() -> Gate:
    return Gate()


def facts(gate: Gate, *, sent_at: float = SENT_AT, **changes: Any) -> CampaignMemory | None:
    """Let the gate learn a campaign's hash, with these fields changed."""
    values = {
        "starts_ms": b"%d" % (SERVER_MS - 1000),
        "ends_ms": b"%d" % (SERVER_MS + 100_000),
        "limit": b"2",
        "salt": b"s" * 16,
        "op": b"1",
        "phase": b"open",
        "left": b"9",
        "admitted": b"1",
        "card": b"{}",
    } | changes
    clock = [b"%d" % (SERVER_MS // 1000), b"0"]
    return gate.learn_facts(7, [values[name] for name in gate_module.FACT_FIELDS], clock, sent_at)


def memory_of(gate: Gate, **changes: Any) -> CampaignMemory:
    memory = facts(gate, **changes)
    assert memory is not None
    return memory


def reply(left: int, *codes: int, admitted: int = 1) -> ReserveReply:
    return ReserveReply(SERVER_MS, left, admitted, list(codes))


def sold_out(gate: Gate, memory: CampaignMemory, *, sent_at: float = SENT_AT) -> None:
    """Let the gate learn that nothing is left, and that one user holds a record."""
    if gate.learn_reply(memory, reply(0, ReserveCode.SOLD_OUT), sent_at):
        gate.learn_holders(memory, [b"%d" % HELD_BY], admitted=1, sent_at=sent_at)


# ---- sold out and ended ----


def test_sold_out_is_remembered_for_one_second_from_sending(gate: Gate) -> None:
    memory = memory_of(gate)
    sold_out(gate, memory)
    for now in (SENT_AT, SENT_AT + 0.999):
        with pytest.raises(SoldOut):
            gate.check_campaign(memory, 6, now)
    gate.check_campaign(memory, 6, SENT_AT + 1.0)


def test_sold_out_is_never_told_to_who_holds_a_record(gate: Gate) -> None:
    memory = memory_of(gate)
    sold_out(gate, memory)
    gate.check_campaign(memory, HELD_BY, SENT_AT + 0.5)


def test_sold_out_is_not_told_before_the_holders_are_known(gate: Gate) -> None:
    memory = memory_of(gate)
    assert gate.learn_reply(memory, reply(0, ReserveCode.ACCEPTED), SENT_AT) is True
    gate.check_campaign(memory, 6, SENT_AT)


def test_holders_are_read_again_only_when_somebody_was_admitted(gate: Gate) -> None:
    memory = memory_of(gate)
    sold_out(gate, memory)
    assert gate.learn_reply(memory, reply(0, ReserveCode.SOLD_OUT), SENT_AT + 2) is False
    with pytest.raises(SoldOut):
        gate.check_campaign(memory, 6, SENT_AT + 2.5)
    assert gate.learn_reply(memory, reply(0, ReserveCode.ACCEPTED, admitted=2), SENT_AT + 4) is True
    gate.check_campaign(memory, 6, SENT_AT + 4)


def test_holders_beyond_what_memory_keeps_leave_the_answer_to_the_script(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "HOLDERS_MAX", 3)
    memory = memory_of(gate)
    assert gate.learn_reply(memory, reply(0, ReserveCode.SOLD_OUT, admitted=4), SENT_AT) is False
    gate.check_campaign(memory, 6, SENT_AT)


def test_sold_out_is_not_learnt_while_units_are_left(gate: Gate) -> None:
    """Two units were asked for and one is left: that is one shopper's answer, not the campaign's."""
    memory = memory_of(gate)
    assert gate.learn_reply(memory, reply(1, ReserveCode.SOLD_OUT), SENT_AT) is False
    gate.check_campaign(memory, 6, SENT_AT)
    assert memory.left == 1


def test_ended_is_remembered_as_ended(gate: Gate) -> None:
    memory = memory_of(gate)
    assert gate.learn_reply(memory, reply(3, ReserveCode.ENDED), SENT_AT) is True
    gate.learn_holders(memory, [b"5"], admitted=1, sent_at=SENT_AT)
    with pytest.raises(Ended):
        gate.check_campaign(memory, 6, SENT_AT + 0.9)
    gate.check_campaign(memory, HELD_BY, SENT_AT + 0.9)
    gate.check_campaign(memory, 6, SENT_AT + 1.0)


@pytest.mark.parametrize("code", [ReserveCode.PAUSED, ReserveCode.BUSY, ReserveCode.LIMIT_REACHED])
def test_other_refusals_are_not_remembered(gate: Gate, code: ReserveCode) -> None:
    memory = memory_of(gate)
    assert gate.learn_reply(memory, reply(3, code), SENT_AT) is False
    gate.check_campaign(memory, 6, SENT_AT)


def test_missing_hash_is_forgotten_and_never_sold_out(gate: Gate) -> None:
    memory = memory_of(gate)
    sold_out(gate, memory)
    assert gate.learn_reply(memory, ReserveReply(SERVER_MS, -1, -1, [ReserveCode.PAUSED]), SENT_AT) is False
    assert gate.campaigns == {}
    memory_of(gate)
    assert facts(gate, card=None) is None
    assert gate.campaigns == {}


# ---- the clock ----


def test_not_started_follows_the_servers_clock(gate: Gate) -> None:
    """The server says 18:00:00.000 at monotonic 1000.0; the sale starts five seconds later."""
    memory = memory_of(gate, starts_ms=b"%d" % (SERVER_MS + 5_000))
    with pytest.raises(NotStarted):
        gate.check_campaign(memory, 6, SENT_AT + 4.999)
    gate.check_campaign(memory, 6, SENT_AT + 5.0)


def test_clock_is_the_newest_reply(gate: Gate) -> None:
    memory = memory_of(gate, starts_ms=b"%d" % (SERVER_MS + 5_000))
    gate.learn_clock(SERVER_MS + 5_000, SENT_AT + 1.0)
    gate.check_campaign(memory, 6, SENT_AT + 1.0)
    assert gate.now_ms(SENT_AT + 1.5) == SERVER_MS + 5_500


def test_clock_is_the_systems_before_the_first_reply(gate: Gate) -> None:
    assert gate.now_ms(0.0) == pytest.approx(time.time() * 1000, abs=1_000)


def test_facts_are_taken_over_without_losing_what_was_learnt(gate: Gate) -> None:
    memory = memory_of(gate)
    sold_out(gate, memory)
    again = memory_of(gate, sent_at=SENT_AT + 0.5, left=b"0", limit=b"3", phase=b"paused")
    assert again is memory
    assert (memory.left, memory.limit, memory.phase, memory.loaded_at) == (0, 3, "paused", SENT_AT + 0.5)
    with pytest.raises(SoldOut):
        gate.check_campaign(memory, 6, SENT_AT + 0.6)


# ---- rate, breaker ----


@override_settings(SALE_RATE_LIMIT=3, SALE_RATE_WINDOW_SECONDS=10)
def test_rate_is_an_accounts_own_and_says_how_long_to_wait() -> None:
    gate = Gate()
    for at in (0.0, 1.0, 2.0):
        gate.check_rate(6, at)
    with pytest.raises(RateLimited) as caught:
        gate.check_rate(6, 3.5)
    assert (caught.value.code, caught.value.status) == ("rate_limited", 429)
    assert caught.value.retry_after_seconds == 7
    gate.check_rate(7, 3.5)
    gate.check_rate(6, 10.0)


def test_open_breaker_answers_for_a_server_that_does_not(gate: Gate) -> None:
    memory = memory_of(gate)
    for _ in range(5):
        gate.breaker.failure(SENT_AT)
    with pytest.raises(SaleUnavailable):
        gate.check_campaign(memory, 6, SENT_AT + 0.5)
    gate.check_campaign(memory, 6, SENT_AT + 1.0)  # the probe


# ---- credentials ----


def bearer(user_id: int = 42, ttl_seconds: int = 600) -> str:
    tokens = access_tokens(user_ids=[user_id], ttl_seconds=ttl_seconds, now=timezone.now())
    return f"Bearer {tokens[0]}"


def ticket(campaign_id: int = 7, user_id: int = 42) -> str:
    now = int(time.time())
    return f"Ticket {ticket_mint(user_id=user_id, campaign_id=campaign_id, starts=now, now=now)}"


def test_bearer_is_good_for_every_campaign(gate: Gate) -> None:
    header = bearer()
    assert [gate.credentials(header, campaign_id=pk) for pk in (7, 8, None)] == [42, 42, 42]


def test_ticket_is_good_for_its_campaign_alone(gate: Gate) -> None:
    header = ticket()
    for _ in range(2):  # read, then remembered
        assert gate.credentials(header, campaign_id=7) == 42
        for other in (8, 0, None):
            with pytest.raises(NotSignedIn):
                gate.credentials(header, campaign_id=other)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic eDp4", "Ticket ", "Ticket 42.7.1:x", "é", bearer()[7:]],
    ids=range(9),
)
def test_other_credentials_are_nobodys(gate: Gate, header: str) -> None:
    with pytest.raises(NotSignedIn) as caught:
        gate.credentials(header, campaign_id=7)
    assert (caught.value.status, caught.value.code) == (401, "not_authenticated")
    assert len(gate._tokens) == 0


def test_bearer_in_the_place_of_a_ticket_is_nobodys(gate: Gate) -> None:
    for header in ("Ticket " + bearer()[7:], "Bearer " + ticket()[7:]):
        with pytest.raises(NotSignedIn):
            gate.credentials(header, campaign_id=7)


@pytest.mark.parametrize(
    ("header", "lives"), [(bearer(ttl_seconds=600), 600), (ticket(), 900)], ids=["bearer", "ticket"]
)
def test_remembered_credentials_end_when_they_say(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, header: str, lives: int
) -> None:
    assert gate.credentials(header, campaign_id=7) == 42
    real = time.time()
    monkeypatch.setattr(gate_module.time, "time", lambda: real + lives + 2)
    monkeypatch.setattr(gate_module, "access_token_read", _expired)
    with pytest.raises(NotSignedIn):
        gate.credentials(header, campaign_id=7)


def _expired(token: str) -> None:
    raise gate_module.TokenInvalid


def test_credentials_are_read_once(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    header = bearer()
    gate.credentials(header, campaign_id=7)
    monkeypatch.setattr(gate_module, "access_token_read", _expired)
    assert gate.credentials(header, campaign_id=7) == 42
    with pytest.raises(NotSignedIn):
        gate.credentials(header + "x", campaign_id=7)


def test_credentials_remembered_are_bounded_and_the_oldest_goes(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "TOKENS_MAX", 3)
    headers = [bearer(user_id) for user_id in (1, 2, 3, 4, 5)]
    assert [gate.credentials(header, campaign_id=7) for header in headers] == [1, 2, 3, 4, 5]
    assert [known[0] for known in gate._tokens.values()] == [3, 4, 5]
    assert gate.credentials(headers[0], campaign_id=7) == 1
