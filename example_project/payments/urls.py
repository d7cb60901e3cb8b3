"""Addresses of the API."""

from django.urls import include, path
from rest_framework.routers import DefaultRouter

from example_project.payments import views

router = DefaultRouter()
router.register("accounts", views.AccountViewSet, basename="account")
router.register("charges", views.ChargeViewSet, basename="charge")

urlpatterns = [
    path("", include(router.urls)),
    path("orders/", views.OrderView.as_view(), name="orders"),
    path("transfers/", views.transfers, name="transfers"),
    path("donations/", views.donations, name="donations"),
]
