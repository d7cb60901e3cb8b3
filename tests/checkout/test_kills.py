"""Workers that are killed at every place of a checkout, and what their customers get afterwards."""

import time
from functools import partial

import pytest

from tests.checkout.purchases import (
    DECLINED,
    HELD_WITH_MONEY,
    HELD_WITHOUT_MONEY,
    PAID,
    SOLD_OUT,
    WIRED,
    Ending,
    Purchase,
    charged,
    endings,
    insist,
    keys,
    places,
    stocked,
)
from tests.checkout.shop import KilledError, Shop
from tests.gate import TIMEOUT

ENDINGS = pytest.mark.parametrize("ending", [PAID, DECLINED, SOLD_OUT], ids=["paid", "declined", "sold-out"])

pytestmark = [pytest.mark.django_db, pytest.mark.long]


def kill(shop: Shop, purchase: Purchase, number: int) -> str:
    """Kill a worker at that place of the purchase; return the place."""
    running = shop.start("post", at=number, end="kill", **purchase.request(shop))
    with pytest.raises(KilledError):
        running.result()
    return running.place


def kill_everywhere(shop: Shop, ending: Ending) -> dict[str, Purchase]:
    """Kill a worker at every place of such a purchase; return what was begun, by the place of the killing."""
    passed = places(shop, ending)
    purchases = stocked(shop, ending, len(passed))
    died = shop.each(partial(kill, shop, purchase, number) for number, purchase in enumerate(purchases))
    assert died == passed
    return {f"{number} {place}": purchase for number, (place, purchase) in enumerate(zip(died, purchases, strict=True))}


def resume(shop: Shop, purchases: list[Purchase]) -> None:
    """Run `manage.py resume_idempotent_operations`, several at a time, until nothing is left to it."""
    deadline = time.monotonic() + 10 * TIMEOUT
    while shop.run("unfinished", keys=keys(purchases)):
        assert time.monotonic() < deadline
        shop.each([partial(shop.run, "resume", operations=len(purchases) // 8)] * 2)


def wrong(shop: Shop, begun: dict[str, Purchase]) -> list[str]:
    """Let the customers insist; return what has not ended as it had to."""
    purchases = list(begun.values())
    answers = insist(shop, purchases)
    found = endings(shop, purchases, [answer["status"] for answer in answers])
    return [
        f"{place}: {ending}, {answer['body']}"
        for (place, purchase), ending, answer in zip(begun.items(), found, answers, strict=True)
        if ending != purchase.ending
    ]


class TestKilledWorker:
    @pytest.mark.parametrize("ending", [PAID, SOLD_OUT], ids=["paid", "sold-out"])
    def test_leaves_what_is_not_done_to_the_retry(self, shop, ending):
        begun = kill_everywhere(shop, ending)

        assert not wrong(shop, begun)

    @pytest.mark.parametrize("ending", [PAID, DECLINED], ids=["paid", "declined"])
    def test_leaves_what_is_not_done_to_the_command(self, shop, ending):
        begun = kill_everywhere(shop, ending)

        resume(shop, list(begun.values()))

        assert not wrong(shop, begun)


class TestHeldCall:
    def test_is_never_made_twice_is_listed_and_goes_on_when_it_is_settled(self, shop):
        purchases = list(kill_everywhere(shop, WIRED).values())

        answers = insist(shop, purchases)
        shop.run("resume", operations=len(purchases))

        held = [purchase for purchase, answer in zip(purchases, answers, strict=True) if answer["is_uncertain"]]
        found = endings(shop, purchases, [answer["status"] for answer in answers])
        assert set(found) == {WIRED, HELD_WITH_MONEY, HELD_WITHOUT_MONEY}
        assert sorted(shop.run("uncertain", keys=keys(purchases))) == sorted(keys(held))

        shop.run("settle", results=charged(shop, held))

        answers = insist(shop, purchases)
        assert set(endings(shop, purchases, [answer["status"] for answer in answers])) == {WIRED}
        assert shop.run("uncertain", keys=keys(purchases)) == []
