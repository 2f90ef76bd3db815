"""Addresses for whoever runs the processes: probes and the sale's numbers; none is under a language."""

from django.urls import path

from shop.site.health import livez, metrics, readyz
from shop.site.ops import sales

urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("ops/sales/", sales, name="ops_sales"),
]
