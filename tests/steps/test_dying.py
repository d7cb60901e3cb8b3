"""Workers are killed at each statement of a job, and of a message; then it is delivered again, or resumed."""

import time
from collections import defaultdict
from typing import Any

import django
import pytest
from celery.exceptions import Retry

from django_idempotency.exceptions import RequestInProgress
from django_idempotency.models import IdempotentRun
from django_idempotency.resume import resume
from tests.gate import TIMEOUT
from tests.operations import labels
from tests.steps.dying import AGAIN, deliver, die_everywhere
from tests.steps.stepping import run_out_leases

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.engine("postgresql", "mariadb"),
]
# Django's has no place among what runs long: that runs with Django 5.2, which has no tasks.
DOORS: list[Any] = [pytest.param(door, marks=pytest.mark.long) for door in ("celery", "message")]
if django.VERSION >= (6,):
    DOORS.append("django")


def insist(door: str, number: str) -> Any:
    """Deliver until it is not in progress any more: the dead worker's session may take a moment to end."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return deliver(door, number)
        except (RequestInProgress, Retry):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def resume_all() -> None:
    """Run the command until it has left nothing."""
    deadline = time.monotonic() + TIMEOUT
    while IdempotentRun.objects.unfinished().exists():
        resume()
        assert time.monotonic() < deadline


def effects() -> dict[str, tuple[list[str], int]]:
    """Return, for each number, what was left of its steps, and with how many keys the other system was called."""
    steps, keys = defaultdict(list), defaultdict(set)
    for number, step in (label.split() for label in labels()):
        steps[number].append(step)
    for number, _, key in (label.split() for label in labels("other")):
        keys[number].add(key)
    return {number: (steps[number], len(keys[number])) for number in {*steps, *keys}}


@pytest.mark.parametrize("door", DOORS)
class TestKilledWorker:
    def test_leaves_the_rest_to_the_next_delivery_or_to_the_command(self, door):
        died = die_everywhere(door)
        begun = IdempotentRun.objects.unfinished().count()
        run_out_leases()

        answers = {number: insist(door, number) for number in died if number.startswith(AGAIN)}
        resume_all()
        answers |= {number: insist(door, number) for number in died}

        assert {"before commit", "after commit", "before the call", "after the call"} <= {
            place.removeprefix("locked: ") for place in died.values()
        }
        assert begun > len(died) // 2
        assert effects() == {number: (["order", "confirm"], 1) for number in (*died, "whole")}
        assert answers == {number: None if door == "message" else number for number in died}
