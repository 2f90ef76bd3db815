"""The API, version 1."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from seckill.api.views import TimeView

urlpatterns = [
    path("accounts/", include("shop.accounts.api.urls", namespace="api-accounts")),
    path("", include("orders.api.urls", namespace="api-orders")),
    path("seckill/", include("seckill.api.urls", namespace="api-seckill")),
    path("time/", TimeView.as_view(), name="time"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
]
