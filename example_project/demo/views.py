"""What the demo compares with."""

from django_idempotency.decorators import idempotency_exempt
from example_project.payments.views import ChargeViewSet


@idempotency_exempt
class UnguardedChargeViewSet(ChargeViewSet):
    """The same charges, with the keys ignored: every retry charges again."""

    idempotency_methods = ()
