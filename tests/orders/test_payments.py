"""Payments: only a signed callback marks an order paid; money that moved is kept or sent back, never dropped."""

import json
from decimal import Decimal

import pytest

from orders.errors import (
    AmountMismatch,
    BadSignature,
    CallbackMalformed,
    OrderNotFound,
    OrderNotPending,
    PaymentNotFound,
    PayWindowOver,
    ProviderUnknown,
)
from orders.models import OrderStatus, Payment, PaymentStatus, Refund
from orders.payments.sandbox import SIGNATURE_HEADER, TIMESTAMP_HEADER, SandboxOutcome, signature
from orders.services.payments import payment_callback, payment_start
from tests.orders.rows import (
    AFTER,
    NOW,
    PAY_BY,
    PRICE,
    SANDBOX,
    callback,
    cancel,
    counters,
    order_make,
    outcomes_heard,
    payment_make,
    sale_make,
    state,
    user_make,
)

pytestmark = pytest.mark.django_db
SECRET = "for-tests-only-payment"


@pytest.fixture
def sale():
    return sale_make(sold=1)


@pytest.fixture
def order(sale):
    return order_make(sale)


def start(order, *, now):
    return payment_start(number=order.number, user_id=order.user_id, now=now)


def nothing_changed(order, payment):
    payment.refresh_from_db()
    assert (payment.status, payment.settled_at) == ("created", None)
    assert state(order) == ("pending", "", 1, False)
    assert not Refund.objects.exists()


def signed(fields: object) -> tuple[bytes, dict[str, str]]:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return body, {TIMESTAMP_HEADER: "1", SIGNATURE_HEADER: signature(SECRET, "1", body)}


def test_payment_start_changes_nothing_but_the_list_of_payments(order, sale):
    payment = start(order, now=NOW)

    assert (payment.provider, payment.amount, payment.currency) == ("sandbox", PRICE, "CNY")
    assert len(payment.reference) == 32
    nothing_changed(order, payment)
    assert counters(sale) == (1, 0, 0)


def test_payment_start_twice_goes_on_with_the_same_payment(order):
    first = start(order, now=NOW)
    second = start(order, now=NOW)

    assert second.pk == first.pk
    assert Payment.objects.count() == 1


def test_payment_start_after_a_decline_is_a_new_payment(order):
    first = start(order, now=NOW)
    callback(first, succeeded=False)

    second = start(order, now=NOW)

    assert second.pk != first.pk
    assert second.reference != first.reference


def test_payment_start_for_somebody_elses_order_finds_nothing(order):
    with pytest.raises(OrderNotFound):
        payment_start(number=order.number, user_id=user_make().pk, now=NOW)

    assert not Payment.objects.exists()


def test_payment_start_at_the_pay_by_time_is_too_late(order):
    with pytest.raises(PayWindowOver):
        start(order, now=PAY_BY)

    assert not Payment.objects.exists()


@pytest.mark.parametrize("status", [s for s in OrderStatus if s != OrderStatus.PENDING])
def test_payment_start_is_refused_unless_pending(sale, status):
    order = order_make(sale, status=status)

    with pytest.raises(OrderNotPending) as caught:
        start(order, now=NOW)

    assert caught.value.extra == {"status": status.value}
    assert not Payment.objects.exists()


def test_success_marks_the_order_paid_and_keeps_its_units(order, sale, django_capture_on_commit_callbacks):
    payment = payment_make(order)

    with outcomes_heard() as heard, django_capture_on_commit_callbacks(execute=True):
        settled = callback(payment, now=AFTER)

    assert (settled.status, settled.settled_at) == ("succeeded", AFTER)
    assert state(order) == ("paid", "", 1, False)
    assert order.paid_at == AFTER
    assert counters(sale) == (1, 0, 0)
    assert heard == []


def test_decline_leaves_the_order_pending(order, sale):
    payment = callback(payment_make(order), succeeded=False)

    assert (payment.status, payment.settled_at) == ("declined", NOW)
    assert state(order) == ("pending", "", 1, False)
    assert counters(sale) == (1, 0, 0)


def test_replay_has_the_same_answer_and_one_effect(order, sale):
    payment = payment_make(order)
    first = callback(payment, now=NOW)
    second = callback(payment, now=AFTER)

    assert (second.pk, second.status, second.settled_at) == (first.pk, "succeeded", NOW)
    assert state(order) == ("paid", "", 1, False)
    assert order.paid_at == NOW
    assert counters(sale) == (1, 0, 0)
    assert not Refund.objects.exists()


def test_decline_after_success_changes_nothing(order):
    payment = payment_make(order)
    callback(payment, now=NOW)

    assert callback(payment, succeeded=False, now=AFTER).status == "succeeded"
    assert state(order)[0] == "paid"


def test_success_after_decline_is_honoured(order):
    payment = payment_make(order)
    callback(payment, succeeded=False)

    assert callback(payment).status == "succeeded"
    assert state(order)[0] == "paid"


@pytest.mark.parametrize(
    ("amount", "currency"),
    [("198.99", "CNY"), ("199.01", "CNY"), ("0.00", "CNY"), ("199.00", "USD"), ("199.00", "cny")],
)
def test_wrong_amount_or_currency_changes_nothing(order, amount, currency):
    payment = payment_make(order)
    body, headers = SANDBOX.callback_make(
        reference=payment.reference, succeeded=True, amount=Decimal(amount), currency=currency, now=NOW
    )

    with pytest.raises(AmountMismatch):
        payment_callback(provider="sandbox", body=body, headers=headers, now=NOW)

    nothing_changed(order, payment)


def test_a_bad_signature_changes_nothing(order):
    payment = payment_make(order)
    body, headers = SANDBOX.callback_make(
        reference=payment.reference, succeeded=True, amount=PRICE, currency="CNY", now=NOW
    )
    forgeries = [
        (body, {}),
        (body, {**headers, SIGNATURE_HEADER: ""}),
        (body, {**headers, SIGNATURE_HEADER: "é" * 64}),
        (body, {**headers, SIGNATURE_HEADER: headers[SIGNATURE_HEADER].upper()}),
        (body, {**headers, TIMESTAMP_HEADER: "0"}),
        (body + b" ", headers),
        (body.replace(b"199.00", b"001.00"), headers),
        (body, {**headers, SIGNATURE_HEADER: signature("another key", headers[TIMESTAMP_HEADER], body)}),
    ]

    for forged_body, forged_headers in forgeries:
        with pytest.raises(BadSignature):
            payment_callback(provider="sandbox", body=forged_body, headers=forged_headers, now=NOW)

    nothing_changed(order, payment)


def test_header_names_are_read_in_any_case(order):
    body, headers = SANDBOX.callback_make(
        reference=payment_make(order).reference, succeeded=True, amount=PRICE, currency="CNY", now=NOW
    )
    lower = {name.lower(): value for name, value in headers.items()}

    assert payment_callback(provider="sandbox", body=body, headers=lower, now=NOW).status == "succeeded"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 199.0},
        {"amount": "199"},
        {"amount": "199.000"},
        {"amount": "-199.00"},
        {"amount": "1e2"},
        {"amount": "１９９.00"},
        {"outcome": "maybe"},
        {"outcome": ["success"]},
        {"reference": 5},
        {"currency": None},
    ],
)
def test_a_signed_message_that_is_not_understood_changes_nothing(order, change):
    payment = payment_make(order)
    fields = {"reference": payment.reference, "outcome": "success", "amount": "199.00", "currency": "CNY"}
    body, headers = signed({**fields, **change})

    with pytest.raises(CallbackMalformed):
        payment_callback(provider="sandbox", body=body, headers=headers, now=NOW)

    nothing_changed(order, payment)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_signed_bytes_that_are_no_message_are_refused(raw):
    body, headers = signed(raw)

    with pytest.raises(CallbackMalformed):
        payment_callback(provider="sandbox", body=body, headers=headers, now=NOW)


def test_a_payment_that_was_never_started_is_not_found():
    body, headers = SANDBOX.callback_make(
        reference="unheard-of", succeeded=True, amount=PRICE, currency="CNY", now=NOW
    )

    with pytest.raises(PaymentNotFound):
        payment_callback(provider="sandbox", body=body, headers=headers, now=NOW)


def test_without_a_secret_there_is_no_sandbox(settings, order):
    """An empty key would let anyone sign."""
    payment = payment_make(order)
    settings.PAYMENT_SANDBOX_SECRET = ""
    fields = {"reference": payment.reference, "outcome": "success", "amount": "199.00", "currency": "CNY"}
    body = json.dumps(fields).encode()
    headers = {TIMESTAMP_HEADER: "1", SIGNATURE_HEADER: signature("", "1", body)}

    with pytest.raises(ProviderUnknown):
        payment_callback(provider="sandbox", body=body, headers=headers, now=NOW)

    nothing_changed(order, payment)


def test_a_payment_for_a_cancelled_order_is_recorded_and_goes_back(order, sale):
    payment = payment_make(order)
    cancel(order, now=NOW)

    assert callback(payment, now=AFTER).status == "succeeded"

    assert state(order) == ("cancelled", "cancelled", 2, True)
    assert counters(sale) == (0, 0, 0)
    refund = Refund.objects.get()
    assert (refund.payment_id, refund.amount, refund.status, refund.created_at) == (
        payment.pk,
        PRICE,
        "due",
        AFTER,
    )
    callback(payment, now=AFTER)
    assert Refund.objects.count() == 1


def test_a_second_payment_of_a_paid_order_goes_back_alone(order, sale):
    first = payment_make(order, status=PaymentStatus.DECLINED)
    second = payment_make(order)
    callback(second)

    assert callback(first).status == "succeeded"

    assert state(order) == ("paid", "", 1, False)
    assert counters(sale) == (1, 0, 0)
    assert [(refund.payment_id, refund.amount) for refund in Refund.objects.all()] == [(first.pk, PRICE)]


@pytest.mark.parametrize(
    ("outcome", "after_seconds", "succeeded"),
    [
        (SandboxOutcome.SUCCESS, [0], True),
        (SandboxOutcome.DECLINE, [0], False),
        (SandboxOutcome.TWICE, [0, 0], True),
        (SandboxOutcome.SLOW, [20], True),
        (SandboxOutcome.LATE, [930], True),
        (SandboxOutcome.ABANDON, [], True),
    ],
)
def test_the_sandbox_plays_each_outcome(outcome, after_seconds, succeeded):
    deliveries = SANDBOX.play(outcome, reference="r", amount=PRICE, currency="CNY", pay_by=PAY_BY, now=NOW)

    assert [delivery.after_seconds for delivery in deliveries] == after_seconds
    for delivery in deliveries:
        notice = SANDBOX.callback_read(body=delivery.body, headers=delivery.headers)
        assert (notice.reference, notice.succeeded, notice.amount, notice.currency) == (
            "r",
            succeeded,
            PRICE,
            "CNY",
        )
