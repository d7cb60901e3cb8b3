"""What the plain Django views read."""

from decimal import Decimal

from django import forms
from django.http import HttpRequest

from example_project.bodies import read
from example_project.payments.models import Account


class TransferForm(forms.Form):
    """From one of the caller's accounts to any other account."""

    source = forms.ModelChoiceField(Account.objects.none())
    target = forms.ModelChoiceField(Account.objects.all())
    amount = forms.DecimalField(max_digits=10, decimal_places=2, min_value=Decimal("0.01"))

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(read(request))
        self.fields["source"].queryset = Account.objects.visible_to(request.user)  # type: ignore[attr-defined]  # a ModelChoiceField

    def clean(self) -> None:
        if self.cleaned_data.get("source") == self.cleaned_data.get("target"):
            raise forms.ValidationError("The accounts must differ.")


class DonationForm(forms.Form):
    """From one of the caller's accounts to a good cause."""

    account = forms.ModelChoiceField(Account.objects.none())
    cause = forms.CharField(max_length=80)
    amount = forms.DecimalField(max_digits=10, decimal_places=2, min_value=Decimal("0.01"))

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(read(request))
        self.fields["account"].queryset = Account.objects.visible_to(request.user)  # type: ignore[attr-defined]  # a ModelChoiceField
