"""Shapes of the sale's API; answers are built in seckill.answers, these describe them."""

from rest_framework import serializers

from orders.events import LOST_CODES
from seckill.admission import QUANTITY_MAX
from seckill.models import CampaignState
from seckill.statuses import LOST, QUEUED, WON


class ReservationInput(serializers.Serializer):
    quantity = serializers.IntegerField(min_value=1, max_value=QUANTITY_MAX, default=1, required=False)


class ReservationOutput(serializers.Serializer):
    reservation_id = serializers.CharField()
    status = serializers.ChoiceField(choices=[QUEUED])
    status_url = serializers.CharField()
    poll_after_ms = serializers.IntegerField()
    server_time = serializers.DateTimeField()


class ReservationStatusOutput(serializers.Serializer):
    reservation_id = serializers.CharField()
    campaign_id = serializers.CharField()
    status = serializers.ChoiceField(choices=[QUEUED, WON, LOST])
    reason = serializers.ChoiceField(choices=list(LOST_CODES), allow_null=True)
    quantity = serializers.IntegerField()
    order_number = serializers.CharField(allow_null=True)
    pay_by = serializers.DateTimeField(allow_null=True)
    poll_after_ms = serializers.IntegerField()
    server_time = serializers.DateTimeField()


class MyReservationsOutput(serializers.Serializer):
    results = ReservationStatusOutput(many=True)


class CampaignOutput(serializers.Serializer):
    id = serializers.CharField()
    name = serializers.CharField()
    product_id = serializers.CharField()
    state = serializers.ChoiceField(
        choices=[state.value for state in CampaignState if state != CampaignState.DRAFT]
    )
    sold_out = serializers.BooleanField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    price = serializers.CharField()
    currency = serializers.CharField()
    limit_per_user = serializers.IntegerField()
    server_time = serializers.DateTimeField()


class CampaignListOutput(serializers.Serializer):
    results = CampaignOutput(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)


class LiveOutput(CampaignOutput):
    left = serializers.IntegerField(allow_null=True)
    as_of = serializers.DateTimeField()
    poll_after_ms = serializers.IntegerField()


class ErrorOutput(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    extra = serializers.DictField()


class TimeOutput(serializers.Serializer):
    server_time = serializers.DateTimeField()
    server_time_ms = serializers.IntegerField()
