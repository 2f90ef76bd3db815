"""Every address of the shop: pages under a language, the API, staff tools."""

from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("shop.site.api_urls")),
    path("admin/", admin.site.urls),
    path("ops/silk/", include("silk.urls", namespace="silk")),
    path("", include("shop.catalog.urls")),
    path("", include("shop.site.health_urls")),
]
urlpatterns += i18n_patterns(path("", include("shop.site.urls")))

handler400 = "shop.site.faults.bad_request"
handler403 = "shop.site.faults.permission_denied"
handler404 = "shop.site.faults.page_not_found"
handler500 = "shop.site.faults.server_error"
