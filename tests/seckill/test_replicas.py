"""With replicas a 202 means: on this server's disk and on enough of theirs."""

from collections.abc import Iterator

import pytest
import redis
from django.test import override_settings

from seckill import keys, scripts
from seckill.services.reconciliation import server_id
from seckill.store import SaleStore, unverified_store
from tests.seckill.doors import Call, campaign_hash, drf_replies, lane_replies, reserve
from tests.services.processes import free_port, wait_until
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pair() -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    """Yield a primary with one campaign, verified, and its replica in step."""
    port = free_port()
    with ValkeyServer(port=port) as primary, ValkeyServer(replica_of=port) as replica:
        wait_until(
            lambda: replica.client().info("replication")["master_link_status"] == "up",
            deadline_seconds=10,
            what="the replica in step",
        )
        with override_settings(REDIS_URL=primary.url, SALE_REPLICA_ACKS=1):
            store = unverified_store()
            store.client.hset(
                keys.shard_key(), mapping={"boot": server_id(store), "open_max": 100, "open": 0}
            )
            campaign_hash(1)
            yield primary, replica


def one(replies: object) -> tuple[int, str]:
    reply = replies[0]  # type: ignore[index]
    return reply.status, reply.code


@pytest.mark.parametrize("door", [lane_replies, drf_replies])
def test_accepted_reservation_is_on_the_replica(
    pair: tuple[ValkeyServer, ValkeyServer], door: object
) -> None:
    _, replica = pair
    call: Call = reserve(1)

    assert one(door([call])) == (202, "queued")  # type: ignore[operator]

    assert replica.client().hget(keys.campaign_key(1), "left") == b"9"
    assert replica.client().xlen(keys.outbox_key()) == 1


@pytest.mark.parametrize("door", [lane_replies, drf_replies])
def test_without_the_replica_the_answer_is_unknown_and_the_key_tells(
    pair: tuple[ValkeyServer, ValkeyServer], door: object
) -> None:
    primary, replica = pair
    assert one(door([reserve(1, user=2)])) == (202, "queued")  # type: ignore[operator]
    replica.kill()
    call: Call = reserve(1)

    assert one(door([call])) == (503, "seckill.unknown")  # type: ignore[operator]

    # It may have been admitted, and was: the same key finds the record as soon as the replica is back.
    assert primary.client().hget(keys.campaign_key(1), "left") == b"8"
    replica.start()
    wait_until(
        lambda: replica.client().info("replication")["master_link_status"] == "up",
        deadline_seconds=10,
        what="the replica in step again",
    )
    assert one(door([call])) == (202, "queued")  # type: ignore[operator]
    assert primary.client().hget(keys.campaign_key(1), "left") == b"8"


def test_too_few_acknowledgements_raise(pair: tuple[ValkeyServer, ValkeyServer]) -> None:
    primary, _ = pair
    store = SaleStore(primary.url, verify=False)
    with pytest.raises(redis.TimeoutError, match="too few replicas"):
        store.run([scripts.close_call(999)], replicas=2)
    store.close()
