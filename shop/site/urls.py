"""Pages, each under a language."""

from django.urls import include, path

from shop.site import views

site_patterns = ([path("", views.home, name="home")], "site")

urlpatterns = [
    path("", include(site_patterns)),
    path("account/", include("shop.accounts.urls")),
    path("", include("orders.urls")),
    path("", include("seckill.urls")),
    # Under the language on purpose: the view translates the page's address, which only resolves under its own.
    path("i18n/", include("django.conf.urls.i18n")),
]
