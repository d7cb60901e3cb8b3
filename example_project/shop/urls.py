"""Addresses of the shop."""

from django.urls import path

from example_project.shop import views

urlpatterns = [
    path("checkouts/", views.checkouts, name="checkouts"),
    path("checkouts/wires/", views.wire_checkouts, name="wire-checkouts"),
]
