"""What the customers do, and what the line does to them: the same for the same seed."""

import random
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum


class Fate(Enum):
    """What becomes of the answer to one request."""

    ARRIVES = "arrives"
    HUNG_UP = "the client's socket closes as soon as the request is sent"
    LOST = "the server answers, and the answer never reaches the client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One thing that a customer wants to pay for, once."""

    number: int
    customer: int
    amount: Decimal
    # The fates of each click's requests; what is not listed arrives. Two clicks: a double click.
    clicks: tuple[tuple[Fate, ...], ...]
    killed: bool

    @property
    def reference(self) -> str:
        """Name the purchase."""
        return f"purchase-{self.number:04}"


def purchases(*, seed: int, count: int, customers: int) -> list[Purchase]:
    """Plan purchases: a quarter loses answers, a tenth are double clicks, one meets the killer."""
    rng = random.Random(seed)  # noqa: S311  # a plan, not a secret
    # Early enough that traffic follows, and always there.
    killed = count // 3
    return [
        Purchase(
            number=number,
            customer=rng.randrange(customers),
            amount=Decimal(rng.randrange(100, 10_000)) / 100,
            clicks=tuple(fates(rng) for _ in range(2 if rng.random() < 0.1 else 1)),
            killed=number == killed,
        )
        for number in range(count)
    ]


def fates(rng: random.Random) -> tuple[Fate, ...]:
    """Lose no answer, or one, or several in a row."""
    lost = []
    while rng.random() < 0.25:
        lost.append(rng.choice((Fate.HUNG_UP, Fate.LOST)))
    return tuple(lost)
