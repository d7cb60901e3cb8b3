"""Many retries at once: one of them does the work."""

from functools import partial

import pytest

from tests.checkout.purchases import PAID, Purchase, endings, keys, places, stocked
from tests.checkout.shop import KilledError, Shop
from tests.threads import together

MANY = 20

pytestmark = [pytest.mark.django_db, pytest.mark.long]


def insist_at_once(shop: Shop, purchase: Purchase) -> tuple[set[str], list[set[str]]]:
    """Send many retries at once; return the different answers, and the lines of those who have run a step or a call."""
    answers = together([partial(shop.run, "insist", end="kill", **purchase.request(shop))] * MANY)
    lines = [{place for place in answer["places"] if place.startswith(DOING)} for answer in answers]
    assert {answer["status"] for answer in answers} == {201}
    return {answer["body"] for answer in answers}, [line for line in lines if line]


DOING = ("services.py", "locked: services.py", "bank.py")


class TestConcurrentRetries:
    def test_of_a_new_purchase_run_once(self, patient_shop):
        [purchase] = stocked(patient_shop, PAID, 1)

        answers, runs = insist_at_once(patient_shop, purchase)

        assert len(answers) == len(runs) == 1
        assert endings(patient_shop, [purchase], [201]) == [PAID]

    @pytest.mark.parametrize("place", ["before getresponse", "locked: before commit"])
    def test_of_a_killed_worker_run_once(self, patient_shop, place):
        number = places(patient_shop, PAID).index(place)
        [purchase] = stocked(patient_shop, PAID, 1)
        with pytest.raises(KilledError):
            patient_shop.run("post", at=number, end="kill", **purchase.request(patient_shop))
        patient_shop.run("expire", keys=keys([purchase]))

        answers, runs = insist_at_once(patient_shop, purchase)

        assert len(answers) == len(runs) == 1
        assert endings(patient_shop, [purchase], [201]) == [PAID]
