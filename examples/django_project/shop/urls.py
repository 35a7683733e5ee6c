"""URLs of the shop."""

from django.contrib import admin
from django.urls import path
from shop import views

urlpatterns = [
    path("orders/", views.orders),
    path("orders/<int:pk>/pay/", views.pay),
    path("health/", views.health),
    path("admin/", admin.site.urls),
]
