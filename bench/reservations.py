"""S1, S2, S3 and S6: what an accepted reservation costs, against peers, the empty reply and weaker durability."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench.rows import Row, median_row, not_measured
from bench.servers import GoPeer, GranianServer, peer_program, peers_missing
from bench.stack import SaleStack
from bench.subjects import BROKER, RELAY, SERVER, VALKEY, Empty, Lane, LaneWithRelay, Peer
from bench.turns import Say, Subject, Turn, Turns, interleave, quotients, values
from tests.services.availability import kafka_missing
from tests.services.kafka import KafkaBroker

DURABILITY_CONNECTIONS = 128
KAFKA_PARTITIONS = 6  # as the relay makes its topic
CPU = "CPU an accepted reservation"
RATE = "accepted/s"


def _cpu(*parts: str) -> Callable[[Turn], float]:
    return lambda turn: turn.cpu_us(*parts)


def _rate(turn: Turn) -> float:
    return turn.per_second


def _cpu_rows(goal: str, turns: Turns, names: Sequence[str], *parts: str) -> list[Row]:
    """Return the absolute CPU of the subjects, for information."""
    return [
        median_row(
            goal, f"  {name}: {CPU}, {' + '.join(parts)}", values(turns[name], _cpu(*parts)), unit="µs"
        )
        for name in names
    ]


def _rate_rows(goal: str, turns: Turns) -> list[Row]:
    return [median_row(goal, f"  {name}: {RATE}", values(turns[name], _rate), unit="/s") for name in turns]


def classic_rows(stack: SaleStack, *, pairs: int, seconds: int, say: Say) -> list[Row]:
    """S1: against the textbook design with a real Kafka."""
    reason = peers_missing() or kafka_missing()
    if reason is not None:
        return [not_measured("S1", f"{what} ÷ Go classic with Kafka", reason) for what in (CPU, RATE)]
    say("building the peers and starting Kafka")
    peer_program()
    with ExitStack() as closing:
        broker = closing.enter_context(KafkaBroker())
        for topic in ("orders", LaneWithRelay.topic):
            broker.create_topic(topic, partitions=KAFKA_PARTITIONS)
        server = GoPeer("classic", valkey_port=stack.sale_port, kafka=broker.bootstrap)
        closing.enter_context(server)
        subjects: list[Subject] = [
            Lane(stack),
            Peer(stack, server, mode="classic", broker=broker),
            LaneWithRelay(stack, broker=broker),
        ]
        turns = interleave(subjects, pairs=pairs, seconds=seconds, say=say)
    return _classic_judged(turns, *turns)


def _classic_judged(turns: Turns, ours: str, classic: str, relayed: str) -> list[Row]:
    both = (SERVER, VALKEY)
    cpu, rate = (f"{what} ÷ Go classic with Kafka" for what in (f"{CPU} ({SERVER} + {VALKEY})", RATE))
    cpu_rounds, rate_rounds = (
        quotients(turns, ours, classic, _cpu(*both)),
        quotients(turns, ours, classic, _rate),
    )
    pairs = list(zip(turns[relayed], turns[classic], strict=True))
    with_relay = [a.cpu_us(*both, RELAY) / b.cpu_us(*both) for a, b in pairs]
    with_all = [a.cpu_us(*both, RELAY, BROKER) / b.cpu_us(*both, BROKER) for a, b in pairs]
    return [
        median_row("S1", cpu, cpu_rounds, must=0.35, stretch=0.25),
        median_row("S1", rate, rate_rounds, must=2.5, stretch=3.5, at_least=True),
        median_row("S1", "  the same CPU, our relay to Kafka included", with_relay),
        median_row("S1", "  the same CPU, our relay and on both sides the broker included", with_all),
        median_row(
            "S1", f"  {RATE} beside a working relay ÷ Go classic", quotients(turns, relayed, classic, _rate)
        ),
        *_cpu_rows("S1", turns, [ours, classic], *both),
        *_cpu_rows("S1", turns, [relayed], *both, RELAY),
        *_rate_rows("S1", turns),
    ]


def script_rows(stack: SaleStack, *, pairs: int, seconds: int, say: Say) -> list[Row]:
    """S2: against one script call a request, and the same pipelined."""
    wanted = {"lua": (0.85, 0.65), "piped": (1.1, 0.90)}
    names = {mode: f"{CPU} ({SERVER} + {VALKEY}) ÷ Go {mode}" for mode in wanted}
    reason = peers_missing()
    if reason is not None:
        return [not_measured("S2", name, reason) for name in names.values()]
    say("building the peers")
    peer_program()
    with ExitStack() as closing:
        servers = {mode: closing.enter_context(GoPeer(mode, valkey_port=stack.sale_port)) for mode in wanted}
        peers = [Peer(stack, server, mode=mode) for mode, server in servers.items()]
        subjects: list[Subject] = [Lane(stack), *peers]
        turns = interleave(subjects, pairs=pairs, seconds=seconds, say=say)
    rows = []
    for peer in peers:
        must, stretch = wanted[peer.mode]
        rounds = quotients(turns, "shop", peer.name, _cpu(SERVER, VALKEY))
        rows.append(median_row("S2", names[peer.mode], rounds, must=must, stretch=stretch))
    return [*rows, *_cpu_rows("S2", turns, list(turns), SERVER, VALKEY), *_rate_rows("S2", turns)]


def ceiling_rows(stack: SaleStack, *, pairs: int, seconds: int, say: Say) -> list[Row]:
    """S3: against the empty reply of the same server."""
    with GranianServer() as server:
        ours, empty, unseen = (
            Lane(stack),
            Empty(server),
            Lane(stack, name="shop, tokens unseen", unseen_tokens=True),
        )
        turns = interleave([ours, empty, unseen], pairs=pairs, seconds=seconds, say=say)
    return [
        median_row(
            "S3",
            f"{RATE} ÷ empty reply of the same server",
            quotients(turns, ours.name, empty.name, _rate),
            must=0.55,
            stretch=0.75,
            at_least=True,
        ),
        median_row(
            "S3",
            "  the same with tokens seen for the first time",
            quotients(turns, unseen.name, empty.name, _rate),
        ),
        *_cpu_rows("S3", turns, list(turns), SERVER),
        *_rate_rows("S3", turns),
    ]


def durability_rows(stack: SaleStack, *, pairs: int, seconds: int, say: Say) -> list[Row]:
    """S6: the price of being on disk before the answer."""
    connections = DURABILITY_CONNECTIONS
    subjects = [
        Lane(stack, name=mode, durability=mode, connections=connections) for mode in ("always", "everysec")
    ]
    try:
        turns = interleave(subjects, pairs=pairs, seconds=seconds, say=say)
    finally:
        stack.durability("always")
    return [
        median_row(
            "S6",
            f"{RATE}, appendfsync always ÷ everysec, {connections} connections",
            quotients(turns, "always", "everysec", _rate),
            must=0.75,
            stretch=0.90,
            at_least=True,
        ),
        *_rate_rows("S6", turns),
    ]
