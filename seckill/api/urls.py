"""Routes of the sale's API."""

from django.urls import path

from seckill.api import views

app_name = "seckill"
urlpatterns = [
    path("campaigns/", views.CampaignsView.as_view(), name="campaigns"),
    path("campaigns/<campaign_id:campaign_id>/", views.CampaignView.as_view(), name="campaign"),
    path("campaigns/<campaign_id:campaign_id>/live/", views.LiveView.as_view(), name="live"),
    path("campaigns/<campaign_id:campaign_id>/reservations/", views.ReserveView.as_view(), name="reserve"),
    path("reservations/", views.ReservationsView.as_view(), name="reservations"),
    path("reservations/<str:reservation_id>/", views.ReservationView.as_view(), name="reservation"),
]
