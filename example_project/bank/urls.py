"""Addresses of the bank."""

from django.urls import path

from example_project.bank import views

urlpatterns = [
    path("charges/", views.charges, name="charges"),
    path("charges/cards/", views.cards, name="cards"),
    path("charges/wires/", views.wires, name="wires"),
    path("charges/<int:pk>/refunds/", views.refunds, name="refunds"),
]
