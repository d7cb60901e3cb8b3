"""What a storm may come to, judged by what clients saw and what the database holds: it imports nothing of the package.

Clients order payments, each under a key of its user. A run of the view leaves one `Run` behind in the transaction
that moves the money, with the number that it answers with. So each answer names the run that it came from.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

PAID, DECLINED = "paid", "declined"
OUTCOMES = {201: PAID, 402: DECLINED}
# A client may be told these while the storm lasts: come again, or something broke.
TEMPORARY = frozenset({409, 500, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A payment that a client wants to happen once."""

    user: str
    key: str
    payer: int
    payee: int
    amount: int

    @property
    def name(self) -> str:
        """Return what no other order is called."""
        return f"{self.user}/{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request for an order, and what came back: no status if nothing did."""

    order: str
    sent: float
    ended: float
    status: int | None = None
    body: str = ""
    replayed: bool = False
    retry_after: bool = False
    # The same key, with another amount.
    altered: bool = False

    @property
    def acknowledges(self) -> bool:
        """Tell whether the client was told that its order is done."""
        return self.status in OUTCOMES

    @property
    def refuses(self) -> bool:
        """Tell whether the client was told that it may not do this."""
        return self.status == 409 and not self.retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of the view left behind."""

    order: str
    outcome: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the database holds in the end."""

    runs: Collection[Run]
    balances: Mapping[int, int]
    # The orders whose keys are remembered.
    keys: Collection[str]


def violations(
    orders: Collection[Order], attempts: Iterable[Attempt], opening: Mapping[int, int], books: Books
) -> list[str]:
    """Return a sentence for each promise that was broken; every order was insisted on once the storm was over."""
    runs = defaultdict(list)
    for run in books.runs:
        runs[run.order].append(run)
    sent = defaultdict(list)
    for attempt in attempts:
        sent[attempt.order].append(attempt)
    known = {order.name for order in orders}
    found = [f"{name}: an effect of what nobody ordered" for name in runs.keys() - known]
    found += [f"{name}: its key is remembered, its effect is not there" for name in set(books.keys) - runs.keys()]
    found += [f"{name}: its effect is there, its key is not remembered" for name in runs.keys() - set(books.keys)]
    for name in known:
        found += [f"{name}: {fault}" for fault in _faults(runs[name], sent[name])]
    return sorted(found) + _accounting_faults(orders, runs, opening, books.balances)


def _faults(runs: list[Run], attempts: list[Attempt]) -> list[str]:
    honest = [attempt for attempt in attempts if not attempt.altered]
    acknowledged = [attempt for attempt in honest if attempt.acknowledges]
    fresh = [attempt for attempt in acknowledged if not attempt.replayed]
    answers = {(OUTCOMES[attempt.status or 0], json.loads(attempt.body)["answer"]) for attempt in acknowledged}
    kept = {(run.outcome, run.answer) for run in runs}
    first_told = min((attempt.ended for attempt in acknowledged), default=0.0)
    others = {attempt.status for attempt in attempts if attempt.status and not attempt.acknowledges} - TEMPORARY
    faults = {
        "executed twice": len(runs) > 1,
        "acknowledged, but absent": bool(acknowledged) and not runs,
        "stuck": not acknowledged,
        "answered in two ways": len({(attempt.status, attempt.body) for attempt in acknowledged}) > 1,
        "answered for a run that was not kept": bool(runs) and not answers <= kept,
        "two first answers": len(fresh) > 1,
        "ran after it was acknowledged": any(attempt.sent > first_told for attempt in fresh),
        "refused, without a reason": any(attempt.refuses for attempt in honest),
        "other parameters were acknowledged": any(attempt.acknowledges for attempt in attempts if attempt.altered),
        f"answered with {others}": bool(others),
    }
    return [fault for fault, holds in faults.items() if holds]


def _accounting_faults(
    orders: Iterable[Order], runs: Mapping[str, list[Run]], opening: Mapping[int, int], balances: Mapping[int, int]
) -> list[str]:
    moved = Counter(opening)
    for order in orders:
        if any(run.outcome == PAID for run in runs[order.name]):
            moved[order.payer] -= order.amount
            moved[order.payee] += order.amount
    faults = [
        f"account {account}: holds {balances.get(account)}, not {balance}"
        for account, balance in sorted(moved.items())
        if balances.get(account) != balance
    ]
    faults += [f"account {account}: overdrawn" for account, balance in sorted(balances.items()) if balance < 0]
    if sum(balances.values()) != sum(opening.values()):
        faults.append("the balances do not add up")
    return faults
