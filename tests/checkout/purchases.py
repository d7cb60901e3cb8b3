"""Purchases: how each is to end, and how it has ended."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.checkout.shop import CARDS, WIRES, Shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What the customer is told, and what the shop and the bank have in their books then."""

    path: str = CARDS
    card: str = "tok_visa"
    stock: int = 3
    status: int = 201
    left: int = 2
    state: str = "paid"
    receipts: int = 1
    # For each charge, whether the money was given back.
    refunded: tuple[bool, ...] = (False,)


PAID = Ending()
DECLINED = Ending(card="tok_empty", status=402, left=3, state="cancelled", receipts=0, refunded=())
SOLD_OUT = Ending(stock=0, status=410, left=0, state="cancelled", receipts=0, refunded=(True,))
WIRED = Ending(path=WIRES)
# A person has to say how it goes on: nobody knows whether the money was taken.
HELD_WITH_MONEY = Ending(path=WIRES, status=409, left=3, state="open", receipts=0)
HELD_WITHOUT_MONEY = Ending(path=WIRES, status=409, left=3, state="open", receipts=0, refunded=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One of a kind of goods of its own, under a key with the same name."""

    key: str
    ending: Ending

    def request(self, shop: Shop) -> dict[str, Any]:
        """Return the arguments of the jobs `post` and `insist`."""
        data = {"item": self.key, "quantity": 1, "email": "ada@example.com", "card": self.ending.card}
        return {"path": self.ending.path, "key": self.key, "data": data, "token": shop.token}


def stocked(shop: Shop, ending: Ending, number: int) -> list[Purchase]:
    """Return so many purchases, whose goods are there."""
    purchases = [Purchase(key=uuid.uuid4().hex, ending=ending) for _ in range(number)]
    shop.run("stock", names=keys(purchases), quantity=ending.stock)
    return purchases


def places(shop: Shop, ending: Ending) -> list[str]:
    """Return the places that a worker passes while it answers such a purchase."""
    [purchase] = stocked(shop, ending, 1)
    answer = shop.run("post", end="kill", **purchase.request(shop))
    assert answer["status"] == ending.status
    passed: list[str] = answer["places"]
    return passed


def insist(shop: Shop, purchases: list[Purchase]) -> list[dict[str, Any]]:
    """Let each customer ask again until he is answered."""
    return shop.each(partial(shop.run, "insist", **purchase.request(shop)) for purchase in purchases)


def keys(purchases: list[Purchase]) -> list[str]:
    """Return the purchases' keys."""
    return [purchase.key for purchase in purchases]


def charged(shop: Shop, purchases: list[Purchase]) -> dict[str, dict[str, Any] | None]:
    """Return the charge for each key, or None, as a person finds it who compares the shop's books with the bank's."""
    books = shop.run("bought", items=keys(purchases))
    charges = {charge["reference"]: charge for charge in shop.bank.charges()}
    return {key: next((charges.get(reference) for reference in book["orders"]), None) for key, book in books.items()}


def endings(shop: Shop, purchases: list[Purchase], statuses: list[int]) -> list[Ending]:
    """Return how each purchase has ended, by the answers to the customer, the shop's books and the bank's."""
    books = shop.run("bought", items=keys(purchases))
    refunded: dict[str, list[bool]] = {}
    for charge in shop.bank.charges():
        refunded.setdefault(charge["reference"], []).append(charge["refunded"])
    return [
        Ending(
            path=purchase.ending.path,
            card=purchase.ending.card,
            stock=purchase.ending.stock,
            status=status,
            left=books[purchase.key]["stock"],
            state=" and ".join(books[purchase.key]["orders"].values()),
            receipts=books[purchase.key]["receipts"],
            refunded=tuple(back for reference in books[purchase.key]["orders"] for back in refunded.get(reference, [])),
        )
        for purchase, status in zip(purchases, statuses, strict=True)
    ]
