"""What the shop reads."""

from typing import Any

from rest_framework import serializers

from example_project.shop.models import Item


class WireOrderSerializer(serializers.Serializer[Any]):
    """Goods, and where the receipt goes."""

    item: Any = serializers.SlugRelatedField(slug_field="name", queryset=Item.objects.all())
    quantity = serializers.IntegerField(min_value=1, max_value=1000)
    email = serializers.EmailField()


class CardOrderSerializer(WireOrderSerializer):
    """The same with a card: a token of it, which is of no use to who reads the kept request."""

    card = serializers.CharField(max_length=100)
