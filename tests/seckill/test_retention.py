"""What leaves Valkey a day after a campaign's close, and what does not."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from django.utils import timezone

from seckill import keys
from seckill.models import CampaignOperation
from seckill.selectors import reservation_status
from seckill.services.campaigns import campaign_close
from seckill.services.retention import RECORDS_KEPT, records_purge
from seckill.tasks import keys_purge
from tests.seckill.live_sale import LiveSale, commits_seen
from tests.services.valkey import ValkeyServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def sale(valkey_server: ValkeyServer) -> Iterator[LiveSale]:
    with commits_seen():
        yield LiveSale(valkey_server)


def names(sale: LiveSale) -> list[str]:
    return sorted(key.decode() for key in sale.client.keys(f"*:{sale.pk}"))


BOTH = [keys.campaign_key, keys.users_key]


def test_records_of_a_closed_campaign_leave_after_a_day_and_the_hash_stays(sale: LiveSale) -> None:
    reservation_id = sale.won(sale.users[0])
    campaign_close(campaign_id=sale.pk, now=sale.now)
    before = reservation_status(reservation_id=reservation_id, user_id=sale.users[0].pk)

    assert records_purge(now=sale.now + RECORDS_KEPT - timedelta(seconds=1)) == 0
    assert names(sale) == [key(sale.pk) for key in BOTH]
    assert records_purge(now=sale.now + RECORDS_KEPT) == 1
    assert names(sale) == [keys.campaign_key(sale.pk)]
    assert sale.field("phase") == "closed"
    assert records_purge(now=sale.now + RECORDS_KEPT) == 0
    assert reservation_status(reservation_id=reservation_id, user_id=sale.users[0].pk) == before


def test_records_of_an_open_campaign_stay_however_old(sale: LiveSale) -> None:
    sale.won(sale.users[0])
    assert records_purge(now=sale.now + timedelta(days=900)) == 0
    assert names(sale) == [key(sale.pk) for key in BOTH]


def test_records_of_a_closing_campaign_stay_however_old(sale: LiveSale) -> None:
    sale.admit(sale.users[0])
    campaign_close(campaign_id=sale.pk, now=sale.now)
    assert records_purge(now=sale.now + timedelta(days=900)) == 0
    assert names(sale) == [key(sale.pk) for key in BOTH]


def test_task_purges_by_the_clock_and_takes_words_of_newer_releases(sale: LiveSale) -> None:
    sale.won(sale.users[0])
    campaign_close(campaign_id=sale.pk, now=sale.now)
    CampaignOperation.objects.update(done_at=timezone.now() - timedelta(days=2))
    assert keys_purge(limit=5) == 1


def test_purge_without_a_server_raises(sale: LiveSale, settings: object) -> None:
    sale.won(sale.users[0])
    campaign_close(campaign_id=sale.pk, now=sale.now)
    settings.REDIS_URL = "unix:///nowhere/valkey.sock?db=0"  # type: ignore[attr-defined]
    with pytest.raises(redis.ConnectionError):
        records_purge(now=sale.now + RECORDS_KEPT)
