"""A browser's pass: for one user and one campaign, until a time that its signature covers."""

import pytest
from django.core.signing import Signer
from django.test import override_settings

from seckill.tickets import Ticket, TicketInvalid, ticket_mint, ticket_read

NOW = 1_800_000_000


def mint(starts: int = NOW, now: int = NOW) -> str:
    return ticket_mint(user_id=42, campaign_id=7, starts=starts, now=now)


def test_ticket_says_whose_it_is_and_for_what() -> None:
    assert ticket_read(mint(), now=NOW) == Ticket(42, 7, NOW + 15 * 60)


@pytest.mark.parametrize(
    ("starts", "expires"),
    [
        (NOW - 3600, NOW + 900),
        (NOW + 300, NOW + 900),
        (NOW + 301, NOW + 901),
        (NOW + 3600, NOW + 3600 + 600),
    ],
)
def test_ticket_outlasts_the_start_by_ten_minutes_and_lives_for_fifteen(starts: int, expires: int) -> None:
    text = mint(starts)
    assert ticket_read(text, now=expires - 1).expires == expires
    with pytest.raises(TicketInvalid):
        ticket_read(text, now=expires)


def test_ticket_with_any_character_changed_is_refused() -> None:
    text = mint()
    for at in range(len(text) - 1):
        other = "1" if text[at] != "1" else "2"
        with pytest.raises(TicketInvalid):
            ticket_read(text[:at] + other + text[at + 1 :], now=NOW)


@pytest.mark.parametrize(
    "text",
    ["", ":", "42.7.1900000000", "42.7.1900000000:", Signer().sign(f"42.7.{NOW + 900}")],
)
def test_ticket_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TicketInvalid):
        ticket_read(text, now=NOW)


@pytest.mark.parametrize("signed", ["42.7", f"42.7.{NOW + 900}.1", f"x.7.{NOW + 900}", "", "42.7."])
def test_ticket_signed_but_of_another_form_is_refused(signed: str) -> None:
    with pytest.raises(TicketInvalid):
        ticket_read(Signer(salt="seckill.ticket").sign(signed), now=NOW)


def test_ticket_of_another_secret_is_refused() -> None:
    text = mint()
    with override_settings(SECRET_KEY="another" * 8), pytest.raises(TicketInvalid):
        ticket_read(text, now=NOW)
