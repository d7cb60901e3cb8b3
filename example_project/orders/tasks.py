"""Background jobs, each safe to enqueue twice and to deliver twice."""

from decimal import Decimal

from django_idempotency.tasks import idempotent_task
from example_project.celery import app
from example_project.payments import services
from example_project.payments.models import Account


# Acknowledged late, so that the job of a worker that dies is delivered again.
@app.task(acks_late=True, reject_on_worker_lost=True)
@idempotent_task(key="fee-{account}-{month}")
def charge_fee(account: int, month: str, amount: str) -> dict[str, int | str]:
    """Charge an account for one month, such as "2026-11": once, whoever asks for it, and how often."""
    charge = services.charge(Account.objects.get(pk=account), Decimal(amount), f"Fee for {month}")
    return {"charge": charge.pk, "amount": str(charge.amount)}
