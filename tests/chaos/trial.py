"""One trial: a new campaign, a crowd, a kill at a named point, the restart, and the oracle's verdict."""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.clients import Crowd, Shoppers, Watcher, crowd_of, repeats_differ
from tests.chaos.faults import Evidence
from tests.chaos.history import TrialHistory, history_write
from tests.chaos.stack import Stack
from tests.load.wire import Messages

REPORTS = Path(__file__).parents[2] / "reports" / "chaos"
LIMIT = 2
ATTEMPTS = 4  # at a trial that counts
MOMENT_SECONDS = 8.0  # for the kill to happen, from its order
ARRIVING_SECONDS, ARRIVING_COUNT = 0.5, 5  # so many 202s in so long before the kill
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class Fault:
    """A kill. victim: which process. point: a named point of our own code, or the name of a moment.

    moment: for a kill that no process of ours carries out; it brings the moment about, kills, and returns the
    evidence, None when the moment did not come. mended: what else has to be undone once the victim is dead.
    """

    victim: str
    point: str
    is_own: bool = True  # the passer dies itself
    moment: Callable[["Running"], Evidence | None] | None = None
    mended: Callable[[Stack], None] = field(default=lambda stack: None)

    @property
    def name(self) -> str:
        """The fault's name in reports."""
        return self.point


@dataclass(frozen=True)
class Verdict:
    """What became of a trial that counted."""

    fault: str
    seed: str
    not_counted: list[str]
    accepted: int
    interrupted: int
    cancelled: int
    recovery_seconds: float
    terminal_seconds: float
    seconds: float
    held: bool
    report: str
    history: Path


@dataclass
class Running:
    """A trial while its crowd sends."""

    stack: Stack
    crowd: Crowd
    messages: Messages
    watcher: Watcher
    history: TrialHistory
    rng: random.Random

    @property
    def shoppers(self) -> Shoppers:
        """The crowd's record."""
        return self.crowd.shoppers

    def accepted_just_before(self, monotonic: float) -> int:
        """Return how many 202s arrived in the half second before."""
        times = list(self.shoppers.accepted_at)
        return sum(monotonic - ARRIVING_SECONDS <= at <= monotonic for at in times)


def trial_run(stack: Stack, fault: Fault, *, seed: str, settle_seconds: float = SETTLE_SECONDS) -> Verdict:
    """Run attempts until one counts and return its verdict.

    :raises AssertionError: in none of the attempts the kill met arriving 202s and a filled outbox
    """
    not_counted: list[str] = []
    for attempt in range(ATTEMPTS):
        began = time.monotonic()
        stack.whole()
        running = _begin(stack, fault, f"{seed}/{attempt}", settle_seconds)
        evidence = _strike(running, fault)
        recovery_seconds, healed_at = _mend(stack, fault, evidence)
        history = _end(running, healed_at)
        why = _does_not_count(running, fault, evidence)
        if why:
            not_counted.append(why)
            stack.ask("settle")
            continue
        path = REPORTS / f"{stack.kind}-{fault.name}-{seed.replace('/', '-')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        history_write(path, history)
        verdict = stack.ask("judge", path=str(path))
        return Verdict(
            fault=fault.name,
            seed=f"{seed}/{attempt}",
            not_counted=not_counted,
            accepted=len(history.accepted),
            interrupted=len(running.shoppers.interrupted),
            cancelled=running.watcher.seen.cancelled,
            recovery_seconds=recovery_seconds,
            terminal_seconds=history.terminal_seconds,
            seconds=time.monotonic() - began,
            held=verdict["held"],
            report=verdict["report"],
            history=path,
        )
    raise AssertionError(f"{fault.name}: no attempt counted: {not_counted}\n{stack.logs()}")


def _begin(stack: Stack, fault: Fault, seed: str, settle_seconds: float) -> Running:
    """Make the campaign and let the crowd begin."""
    rng = random.Random(f"{stack.kind}/{fault.name}/{seed}")
    units = rng.randint(200, 600)
    made = stack.ask("campaign", units=units, limit=LIMIT)
    people = stack.people
    count = rng.randint(150, len(people["user_ids"]))
    user_ids, tokens = people["user_ids"][:count], people["tokens"][:count]
    history = TrialHistory(
        label=f"{stack.kind} {fault.name} seed {seed}",
        allotment=units,
        user_ids=user_ids,
        settle_deadline_seconds=settle_seconds,
        **made,
    )
    crowd, messages = crowd_of(
        url=stack.url,
        campaign_id=made["campaign_id"],
        tokens=tokens,
        requests=rng.randint(350, 500),
        run_id=uuid.UUID(int=rng.getrandbits(128)).hex,
        seed=rng.getrandbits(32),
    )
    shoppers = crowd.shoppers
    watcher = Watcher(
        url=stack.url,
        accepted=lambda: list(shoppers.history.accepted),
        tokens=tokens,
        seed=rng.getrandbits(32),
    )
    crowd.start()
    watcher.start()
    return Running(stack, crowd, messages, watcher, history, rng)


def _strike(running: Running, fault: Fault) -> Evidence | None:
    """Wait for the crowd to be under way, then have the kill happen; None when its moment did not come."""
    enough = running.rng.randint(20, 80)
    if not _within(MOMENT_SECONDS, lambda: len(running.shoppers.accepted_at) >= enough):
        return None
    if fault.moment is not None:
        return fault.moment(running)
    stack = running.stack
    number = stack.arm(
        fault.point, passes=running.rng.randint(1, 5), victim="" if fault.is_own else fault.victim
    )
    _within(MOMENT_SECONDS, lambda: stack.evidence(number) is not None or not running.crowd.sending)
    stack.disarm()
    return stack.evidence(number)


def _mend(stack: Stack, fault: Fault, evidence: Evidence | None) -> tuple[float, float]:
    """Bring the victim back; return the seconds that took and when it was done (monotonic)."""
    seconds = 0.0
    if evidence is not None:
        assert stack.dead(fault.victim), f"{fault.victim} outlived its SIGKILL\n{stack.logs()}"
        seconds = stack.revive(fault.victim)
    fault.mended(stack)
    return seconds, time.monotonic()


def _end(running: Running, healed_at: float) -> TrialHistory:
    """Let the crowd finish, wait until all is terminal, repeat every key, and write down what the clients saw."""
    running.crowd.join()
    history, watcher, shoppers = running.history, running.watcher, running.shoppers
    watcher.stop()
    since_healing = time.monotonic() - healed_at
    waiting = watcher.all_terminal(deadline_seconds=max(history.settle_deadline_seconds - since_healing, 1.0))
    history.terminal_seconds = since_healing + waiting
    history.clients(shoppers.history)
    history.repeats = repeats_differ(url=running.stack.url, first=shoppers, messages=running.messages)
    history.finals = watcher.look_again()
    history.trails, history.broken = watcher.seen.trails, dict(watcher.seen.broken)
    history.outcomes = {name: len(times) for name, times in shoppers.latencies.items() if times}
    return history


def _does_not_count(running: Running, fault: Fault, evidence: Evidence | None) -> str:
    """Return why the trial proves nothing, "" when it does."""
    if evidence is None:
        return "the moment did not come"
    if evidence.outbox == 0:
        return "the outbox was empty"
    arriving = running.accepted_just_before(evidence.monotonic)
    if arriving < ARRIVING_COUNT:
        return f"only {arriving} 202s in the {ARRIVING_SECONDS} s before the kill"
    answered = sum(at <= evidence.monotonic for at in list(running.shoppers.answered_at))
    if answered >= running.crowd.requests:
        return "nobody was sending any more"
    if fault.victim in ("web", "valkey") and not running.shoppers.interrupted:
        return "no client noticed"
    return ""


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
