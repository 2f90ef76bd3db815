"""Addresses of the catalogue that are the same in every language."""

from django.urls import path

from shop.catalog import views

app_name = "catalog"
urlpatterns = [
    path("art/<slug:slug>.svg", views.art, name="art"),
]
