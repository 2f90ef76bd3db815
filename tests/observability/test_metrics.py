"""Who may read the process's metrics, and what stands in them."""

from typing import Any

import pytest
from django.test import Client, RequestFactory, override_settings

from shop.observability.profiler import should_profile


@pytest.mark.parametrize(
    ("facts", "token", "status"),
    [
        ({"REMOTE_ADDR": "127.0.0.1"}, "", 200),
        ({"REMOTE_ADDR": "10.0.0.9"}, "", 404),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}, "", 404),
        ({"REMOTE_ADDR": "10.0.0.9", "HTTP_AUTHORIZATION": "Bearer right"}, "right", 200),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_AUTHORIZATION": "Bearer wrong"}, "right", 404),
        ({"REMOTE_ADDR": "127.0.0.1"}, "right", 404),
    ],
)
@pytest.mark.django_db
def test_metrics_are_for_the_scraper_alone(
    client: Client, facts: dict[str, str], token: str, status: int
) -> None:
    with override_settings(METRICS_TOKEN=token):
        assert client.get("/metrics", **facts).status_code == status


@pytest.mark.django_db
def test_metrics_name_collections_memory_and_dropped_lines(client: Client) -> None:
    text = client.get("/metrics").content.decode()
    assert 'python_gc_collections_total{generation="0"}' in text
    assert "process_resident_memory_bytes" in text
    assert "# TYPE shop_log_dropped_total counter" in text


@pytest.mark.parametrize(("percent", "path", "recorded"), [(100, "/en/", True), (0, "/en/", False)])
def test_profiler_records_the_configured_share(percent: float, path: str, recorded: bool) -> None:
    with override_settings(SILK_PERCENT=percent):
        assert should_profile(RequestFactory().get(path)) is recorded


@override_settings(SILK_PERCENT=100)
@pytest.mark.parametrize(
    "path", ["/api/v1/seckill/campaigns/1/reservations/", "/livez", "/static/css/shop.css"]
)
def test_profiler_stays_off_the_hot_path(path: str) -> None:
    assert should_profile(RequestFactory().get(path)) is False


@pytest.mark.django_db
@pytest.mark.parametrize(("superuser", "status"), [(True, 200), (False, 403)])
def test_profiles_are_for_superusers_alone(
    client: Client, django_user_model: type[Any], superuser: bool, status: int
) -> None:
    user = django_user_model.objects.create_user(
        "ada", "ada@example.com", "x", is_staff=True, is_superuser=superuser
    )
    client.force_login(user)
    assert client.get("/ops/silk/").status_code == status
