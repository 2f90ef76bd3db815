"""Pages of the flash sale."""

from django.urls import path

from seckill import views

app_name = "seckill"
urlpatterns = [
    path("campaigns/<campaign_id:campaign_id>/", views.campaign, name="campaign"),
    path("campaigns/<campaign_id:campaign_id>/reserve/", views.reserve, name="reserve"),
    path("reservations/", views.reservations, name="reservations"),
    path("reservations/<str:reservation_id>/", views.reservation, name="reservation"),
]
