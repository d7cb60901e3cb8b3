"""What the page on databases says of isolation levels."""

import random
from functools import partial

import pytest
from django.db import connection

from django_idempotency.exceptions import RequestInProgress
from django_idempotency.execution import execute
from tests.app.models import Effect
from tests.operations import CODEC, connecting_with, operation
from tests.threads import together

THREADS = 8
KEYS = 20

LEVELS = [
    pytest.param(3, "repeatable read", marks=pytest.mark.engine("postgresql")),
    pytest.param(4, "serializable", marks=pytest.mark.engine("postgresql")),
    pytest.param("repeatable read", "REPEATABLE-READ", marks=pytest.mark.engine("mariadb")),
    pytest.param("serializable", "SERIALIZABLE", marks=pytest.mark.engine("mariadb")),
]


def isolation_level() -> str:
    """Return the level of this thread's session, as the server tells it."""
    with connection.cursor() as cursor:
        variable = "@@tx_isolation" if connection.vendor == "mysql" else "current_setting('transaction_isolation')"
        cursor.execute(f"SELECT {variable}")
        return str(cursor.fetchone()[0])


class HandlerError(Exception):
    """What some of the runs raise."""


@pytest.mark.django_db(transaction=True)
class TestIsolationLevels:
    @pytest.mark.parametrize(("option", "level"), LEVELS)
    def test_each_key_takes_effect_once(self, option, level):
        chance = random.Random(1)
        fates = iter(lambda: chance.random() < 0.4, None)

        def handler(key: str) -> str:
            assert isolation_level() == level
            Effect.objects.create(label=key)
            if next(fates):
                raise HandlerError
            return "done"

        def insist(key: str) -> bool:
            """Return whether it was this call that ran to its end."""
            while True:
                try:
                    return not execute(operation(key), partial(handler, key), codec=CODEC).replayed
                except (RequestInProgress, HandlerError):
                    continue

        with connecting_with(isolation_level=option):
            for number in range(KEYS):
                ran = together([partial(insist, f"key{number}")] * THREADS)

                assert sum(ran) == 1

        assert sorted(Effect.objects.values_list("label", flat=True)) == sorted(f"key{n}" for n in range(KEYS))
