"""Workers that stand still for longer than their lease, and wake up when another one has done their work."""

import re
from functools import partial

import pytest

from tests.checkout.fuse import LOCKED
from tests.checkout.purchases import PAID, Purchase, endings, insist, keys, places, stocked
from tests.checkout.shop import Running, Shop

CHANGES_KEY = re.compile("UPDATE .django_idempotency_idempotencykey")
# So many processes stand still at a time, each with a connection to the database.
MANY = 16

pytestmark = [pytest.mark.django_db, pytest.mark.long]


def pause(shop: Shop, purchase: Purchase, number: int) -> Running:
    """Let a worker stand still at that place of the purchase."""
    running = shop.start("post", at=number, end="stop", **purchase.request(shop))
    running.wait_stopped()
    return running


def wake(zombie: Running) -> int:
    """Let a worker go on; return the status of its answer."""
    zombie.wake()
    return int(zombie.result()["status"])


class TestZombie:
    def test_commits_nothing_once_another_has_taken_over(self, patient_shop):
        shop = patient_shop
        passed = places(shop, PAID)
        free = [number for number, place in enumerate(passed) if not place.startswith(LOCKED)]
        overtaken = 0
        for first in range(0, len(free), MANY):
            numbers = free[first : first + MANY]
            purchases = stocked(shop, PAID, len(numbers))
            zombies = shop.each(partial(pause, shop, *pair) for pair in zip(purchases, numbers, strict=True))
            shop.run("expire", keys=keys(purchases))
            answers = [answer["status"] for answer in insist(shop, purchases)]
            before = endings(shop, purchases, answers)

            woken = shop.each(partial(wake, zombie) for zombie in zombies)

            assert answers == [201] * len(purchases)
            assert before == [PAID] * len(purchases)
            assert endings(shop, purchases, answers) == before
            # 503: the bank has hung up on a worker that stood still.
            assert set(woken) <= {201, 409, 503}
            overtaken += len(woken) - woken.count(201)
        # All but those that had not begun, or had ended.
        assert overtaken > len(free) / 2

    @pytest.mark.engine("postgresql", "mariadb")
    def test_within_a_transaction_keeps_others_out_and_ends_its_work(self, patient_shop):
        shop = patient_shop
        passed = places(shop, PAID)
        # From there on, the key's row is being changed, and a claim on PostgreSQL waits for that to be committed.
        ends = passed.index(next(place for place in passed if CHANGES_KEY.search(place)))
        locked = [number for number, place in enumerate(passed[:ends]) if place.startswith(LOCKED)]
        for first in range(0, len(locked), MANY):
            numbers = locked[first : first + MANY]
            purchases = stocked(shop, PAID, len(numbers))
            zombies = shop.each(partial(pause, shop, *pair) for pair in zip(purchases, numbers, strict=True))
            others = shop.each(partial(shop.run, "post", **purchase.request(shop)) for purchase in purchases)

            woken = shop.each(partial(wake, zombie) for zombie in zombies)

            assert {other["status"] for other in others} == {409}
            assert woken == [201] * len(purchases)
            assert endings(shop, purchases, woken) == [PAID] * len(purchases)
