"""What the demo compares with."""

from example_project.payments.views import ChargeViewSet


class UnguardedChargeViewSet(ChargeViewSet):
    """The same charges, with the keys ignored: every retry charges again."""

    idempotency_methods = ()
