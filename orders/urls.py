"""Pages of orders and of paying for them."""

from django.urls import path

from orders import views

app_name = "orders"
urlpatterns = [
    path("orders/", views.order_list, name="list"),
    path("orders/<str:number>/", views.order_detail, name="detail"),
    path("orders/<str:number>/cancel/", views.cancel, name="cancel"),
    path("pay/<str:number>/", views.pay, name="pay"),
]
