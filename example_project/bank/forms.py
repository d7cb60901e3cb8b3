"""What the bank reads."""

from decimal import Decimal

from django import forms
from django.http import HttpRequest

from example_project.bodies import read


class WireForm(forms.Form):
    """Money for something."""

    reference = forms.CharField(max_length=100)
    amount = forms.DecimalField(max_digits=12, decimal_places=2, min_value=Decimal("0.01"))

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(read(request))


class CardForm(WireForm):
    """Money from a card, which is named by a token."""

    card = forms.CharField(max_length=100)
