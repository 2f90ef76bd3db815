"""The API, version 1."""

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from seckill.api.views import TimeView

# Swagger sets styles from its script; its scripts come from our own origin like all others.
swagger = csp_update({"style-src": [SELF, UNSAFE_INLINE]})(
    SpectacularSwaggerSplitView.as_view(url_name="schema")
)

urlpatterns = [
    path("accounts/", include("shop.accounts.api.urls", namespace="api-accounts")),
    path("", include("orders.api.urls", namespace="api-orders")),
    path("seckill/", include("seckill.api.urls", namespace="api-seckill")),
    path("time/", TimeView.as_view(), name="time"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", swagger, name="docs"),
]
