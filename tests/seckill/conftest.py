"""Fixtures of the flash sale's page tests."""

import pytest
from django.test import Client

from seckill import selectors
from shop.accounts.models import User
from tests.seckill.playing import SaleServer


@pytest.fixture
def sale_server(monkeypatch: pytest.MonkeyPatch) -> SaleServer:
    server = SaleServer()
    for name in ("campaign_live", "reservations_of_user", "reservation_status"):
        monkeypatch.setattr(selectors, name, getattr(server, name))
    return server


@pytest.fixture
def shopper() -> User:
    return User.objects.create_user("shopper", "shopper@example.com", "flash-demo")


@pytest.fixture
def signed_in(client: Client, shopper: User) -> Client:
    client.force_login(shopper)
    return client
