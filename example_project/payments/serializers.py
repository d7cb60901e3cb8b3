"""What the API reads and writes."""

from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from example_project.payments.models import Account, Charge


class AccountSerializer(serializers.ModelSerializer[Account]):
    """An account and its balance."""

    class Meta:
        model = Account
        fields = ("id", "name", "balance")


@extend_schema_field(OpenApiTypes.INT)
class OwnAccountField(serializers.PrimaryKeyRelatedField[Account]):
    """An account that the caller may charge; anybody else's does not exist for him."""

    def get_queryset(self) -> Any:
        return Account.objects.visible_to(self.context["request"].user)


class ChargeSerializer(serializers.ModelSerializer[Charge]):
    """A charge."""

    account = OwnAccountField()

    class Meta:
        model = Charge
        fields = ("id", "account", "amount", "description", "created")


class OrderSerializer(serializers.Serializer[Any]):
    """An order, as it is placed."""

    account = OwnAccountField()
    item = serializers.CharField(max_length=80)
    quantity = serializers.IntegerField(min_value=1, max_value=1000)
    unit_price = serializers.DecimalField(max_digits=8, decimal_places=2, min_value=Decimal("0.01"))
