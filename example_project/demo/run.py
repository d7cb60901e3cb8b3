"""One run of the traffic, and what it has done to the database."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from example_project.demo.client import LossyClient, Receipt
from example_project.demo.crash import Killer
from example_project.demo.traffic import Purchase
from example_project.payments.models import Account, Charge

CLIENTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was asked for, what was answered, and what the database holds."""

    purchases: int
    requests: int
    lost: int
    told_to_wait: int
    replayed: int
    server_errors: int
    killed: int
    charges: int
    twice: int
    missing: int
    disagreeing: int
    overcharged: Decimal
    adds_up: bool

    @property
    def is_exact(self) -> bool:
        """Tell whether every purchase was charged once, though a server process was killed."""
        wrong = self.twice or self.missing or self.disagreeing or self.overcharged
        return not wrong and self.adds_up and self.killed == 1


def run(
    client: LossyClient,
    plan: list[Purchase],
    accounts: list[Account],
    directory: Path,
    advance: Callable[[str], None],
) -> Result:
    """Make all purchases, several at a time, and count.

    Raises: GaveUpError.
    """
    doomed = next(purchase for purchase in plan if purchase.killed)
    killer = Killer(directory, doomed.reference)
    victims: list[int | None] = []
    threading.Thread(target=lambda: victims.append(killer.strike()), daemon=True).start()
    receipts: dict[Purchase, list[Receipt]] = {}
    clients = ThreadPoolExecutor(CLIENTS)
    try:
        running = {clients.submit(client.buy, purchase): purchase for purchase in plan}
        for done in as_completed(running):
            receipts[running[done]] = done.result()
            flat = [receipt for found in receipts.values() for receipt in found]
            advance(f"{total(flat, 'sent')} requests, {total(flat, 'lost')} answers lost")
    finally:
        clients.shutdown(cancel_futures=True)
    settle(accounts)
    return count(receipts, accounts, killed=len([victim for victim in victims if victim]))


def settle(accounts: list[Account]) -> None:
    """Wait for requests whose client has hung up: they count, too."""
    before, unchanged = -1, 0
    while unchanged < 5:
        now = Charge.objects.filter(account__in=accounts).count()
        unchanged = unchanged + 1 if now == before else 0
        before = now
        time.sleep(0.1)


def count(receipts: dict[Purchase, list[Receipt]], accounts: list[Account], *, killed: int) -> Result:
    """Compare what the customers wanted with what the database holds."""
    charges = list(Charge.objects.filter(account__in=accounts))
    times = Counter(charge.description for charge in charges)
    flat = [receipt for found in receipts.values() for receipt in found]
    wanted = sum((purchase.amount for purchase in receipts), Decimal(0))
    return Result(
        purchases=len(receipts),
        requests=total(flat, "sent"),
        lost=total(flat, "lost"),
        told_to_wait=total(flat, "told_to_wait"),
        replayed=sum(receipt.replayed for receipt in flat),
        server_errors=total(flat, "server_errors"),
        killed=killed,
        charges=len(charges),
        twice=sum(times[purchase.reference] > 1 for purchase in receipts),
        missing=sum(times[purchase.reference] == 0 for purchase in receipts),
        disagreeing=sum(len({receipt.charge for receipt in found}) > 1 for found in receipts.values()),
        overcharged=sum((charge.amount for charge in charges), Decimal(0)) - wanted,
        adds_up=all(
            account.adds_up() for account in Account.objects.filter(pk__in=[account.pk for account in accounts])
        ),
    )


def total(receipts: Iterable[Receipt], name: str) -> int:
    """Add up one column."""
    return sum(getattr(receipt, name) for receipt in receipts)
