"""What moves money: plain functions that know nothing of HTTP or of idempotency keys.

Each runs in one transaction. Called from a guarded view, it joins the one that holds the key.
"""

from decimal import Decimal

from django.db import transaction

from example_project.payments.models import Account, Charge, Order, Transfer


class InsufficientFundsError(Exception):
    """The account's balance is too low."""


@transaction.atomic
def charge(account: Account, amount: Decimal, description: str) -> Charge:
    """Take *amount* from *account*.

    Raises: InsufficientFundsError.
    """
    # The lock comes before the INSERT, whose foreign key share-locks the row: two charges that
    # both held the share lock would deadlock on MariaDB.
    payer = Account.objects.select_for_update().get(pk=account.pk)
    if payer.balance < amount:
        raise InsufficientFundsError
    made = Charge.objects.create(account=payer, amount=amount, description=description)
    payer.balance -= amount
    payer.save(update_fields=["balance"])
    return made


@transaction.atomic
def order(account: Account, item: str, quantity: int, unit_price: Decimal) -> Order:
    """Order *quantity* of *item*, and charge *account* for it.

    Raises: InsufficientFundsError.
    """
    paid = charge(account, quantity * unit_price, f"{quantity} of {item}")
    return Order.objects.create(charge=paid, item=item, quantity=quantity)


@transaction.atomic
def transfer(source: Account, target: Account, amount: Decimal) -> Transfer:
    """Move *amount* from *source* to *target*.

    Raises: InsufficientFundsError.
    """
    # Always locked in the same order: two transfers in opposite directions would deadlock.
    accounts = Account.objects.select_for_update().filter(pk__in=(source.pk, target.pk)).order_by("pk").in_bulk()
    payer, payee = accounts[source.pk], accounts[target.pk]
    if payer.balance < amount:
        raise InsufficientFundsError
    payer.balance -= amount
    payee.balance += amount
    Account.objects.bulk_update((payer, payee), ["balance"])
    return Transfer.objects.create(source=payer, target=payee, amount=amount)
