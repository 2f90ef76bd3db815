"""Addresses for whoever runs the processes: probes and the sale's numbers; none is under a language."""

from django.urls import path

from shop.site import health, ops

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("ops/sales/", ops.sales, name="ops_sales"),
]
