"""Routes of the orders and payments API."""

from django.urls import path

from orders.api import views

app_name = "orders"
urlpatterns = [
    path("orders/", views.OrderListView.as_view(), name="list"),
    path("orders/<str:number>/", views.OrderView.as_view(), name="detail"),
    path("orders/<str:number>/pay/", views.OrderPayView.as_view(), name="pay"),
    path("orders/<str:number>/cancel/", views.OrderCancelView.as_view(), name="cancel"),
    path("payments/callback/<str:provider>/", views.PaymentCallbackView.as_view(), name="callback"),
]
