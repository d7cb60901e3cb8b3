"""How the documentation's API spells a charge."""

from rest_framework import serializers

from tests.docs.payments.models import Charge


class ChargeSerializer(serializers.ModelSerializer[Charge]):
    """A charge."""

    class Meta:
        model = Charge
        fields = ("id", "amount", "description")
