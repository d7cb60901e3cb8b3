"""Tombstones: at its expiry a key loses its response; it goes itself IDEMPOTENCY_TOMBSTONE_TTL later."""

import json
import time
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from django_idempotency.exceptions import KeyReused, ResponseExpired
from django_idempotency.models import IdempotencyKey
from django_idempotency.purge import count_expired, purge
from django_idempotency.values import Outcome
from tests.gate import pass_gate
from tests.operations import expire_keys, labels
from tests.purge.keys import HOUR, keys, names, responses
from tests.purge.test_purge import impatient, run
from tests.threads import together

DAY = timedelta(days=1)
HEADERS = [["Content-Type", "application/json"]]


@pytest.fixture(autouse=True)
def _tombstones(settings):
    settings.IDEMPOTENCY_TOMBSTONE_TTL = DAY


def pages(function):
    """Call *function*, and return how many pages of keys it asked for."""
    count = 0

    def watch(execute, sql, params, many, context):
        nonlocal count
        count += sql.startswith("SELECT") and "ORDER BY" in sql and "COUNT" not in sql
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        function()
    return count


@pytest.mark.django_db
class TestRetry:
    """What the client of an expired key is told."""

    @pytest.mark.parametrize("purged", [False, True], ids=["before the purge", "after it"])
    def test_expired_response_is_refused_and_nothing_runs(self, purged):
        run("a")
        expire_keys()
        if purged:
            purge()

        with pytest.raises(ResponseExpired) as raised:
            run("b")

        assert (raised.value.status, raised.value.code) == (409, "idempotency_response_expired")
        assert labels() == ["a"]

    def test_other_parameters_are_still_refused_as_such(self):
        run("a")
        expire_keys()
        purge()

        with pytest.raises(KeyReused):
            run("b", content=b"other")

    @pytest.mark.parametrize("purged", [False, True], ids=["before the purge", "after it"])
    def test_operation_past_its_tombstone_runs_again(self, purged):
        run("a")
        IdempotencyKey.objects.update(expires=timezone.now() - DAY)
        if purged:
            assert purge().deleted == 1

        assert run("b") == Outcome(value="b", replayed=False)
        assert labels() == ["a", "b"]


@pytest.mark.django_db
class TestRetryOverHttp:
    @pytest.mark.parametrize("purged", [False, True], ids=["before the purge", "after it"])
    @pytest.mark.parametrize("path", ["/keyed/", "/keyed-drf/"])
    def test_expired_response_is_refused_with_409(self, client, path, purged):
        def post():
            script = json.dumps([["effect", "a"], ["respond", "secret"]])
            return client.post(path, headers={"Idempotency-Key": "key", "X-Script": script})

        first = post()
        expire_keys()
        if purged:
            purge()
        retry = post()

        assert (first.status_code, retry.status_code) == (200, 409)
        assert "has expired, and it will not run again" in retry.json()["detail"]
        assert "Retry-After" not in retry
        assert labels() == ["a"]


@pytest.mark.django_db
class TestPurge:
    def test_expired_response_is_erased_and_its_key_stays(self):
        keys(1, body=b"secret", headers=HEADERS)

        purged = purge()

        row = IdempotencyKey.objects.get()
        assert (purged.deleted, purged.erased, purged.left, purged.finished) == (0, 1, 0, True)
        assert (row.body, row.headers, row.status) == (None, [], 201)
        assert row.completed is not None

    def test_key_past_its_tombstone_is_deleted(self):
        keys(1, ago=2 * DAY)
        keys(1, ago=HOUR, key="tombstone")

        purged = purge()

        assert (purged.deleted, purged.erased) == (1, 1)
        assert names() == ["tombstone"]

    def test_unexpired_response_stays(self):
        run("a")

        assert purge().rows == 0
        assert run("b") == Outcome(value="a", replayed=True)

    @pytest.mark.parametrize("stored", [{"body": b""}, {"body": None, "headers": HEADERS}], ids=["empty", "headers"])
    def test_whatever_is_left_of_a_response_is_erased(self, stored):
        keys(1, **stored)

        assert purge().erased == 1
        assert responses() == 0

    def test_what_was_never_stored_is_no_work(self):
        keys(3, body=None)

        assert (purge().rows, len(names())) == (0, 3)

    def test_keys_whose_answer_was_never_stored_hide_no_other(self):
        keys(3, ago=20 * HOUR)
        keys(3, ago=5 * HOUR, body=None)

        assert purge().erased == 3

    def test_erased_once_is_erased(self):
        keys(3)
        purge()

        assert purge().rows == 0

    def test_erasing_goes_on_where_it_was_ended(self):
        keys(25)

        first = purge(batch_size=3, max_rows=10)
        second = purge(batch_size=3)

        assert (first.erased, first.finished) == (10, False)
        assert (second.erased, second.finished) == (15, True)
        assert responses() == 0

    def test_limit_counts_deleted_and_erased_alike(self):
        keys(2, ago=2 * DAY)
        keys(2)

        purged = purge(max_rows=3)

        assert (purged.deleted, purged.erased, purged.finished) == (2, 1, False)

    def test_limit_reached_by_deleting_leaves_responses(self):
        keys(2, ago=2 * DAY)
        keys(2)

        purged = purge(max_rows=1)

        assert (purged.deleted, purged.erased, responses()) == (1, 0, 3)

    def test_older_than_spares_what_expired_later(self):
        keys(1, ago=3 * HOUR)
        keys(1, ago=HOUR)

        assert purge(older_than=2 * HOUR).erased == 1

    def test_older_than_the_tombstones_erases_nothing(self):
        keys(1, ago=3 * DAY)
        keys(1, ago=HOUR)

        purged = purge(older_than=2 * DAY)

        assert (purged.deleted, purged.erased) == (1, 0)
        assert count_expired(older_than=2 * DAY).rows == 0

    def test_counts_what_is_to_do(self):
        keys(2, ago=2 * DAY)
        keys(3, ago=2 * HOUR)
        purge(max_rows=3)

        expired = count_expired()

        assert (expired.deleted, expired.erased) == (0, 2)

    @pytest.mark.parametrize("due", [0, 5])
    def test_run_looks_at_few_tombstones_however_many_there_are(self, due):
        for number in range(80):
            keys(50, ago=20 * HOUR - number * timedelta(minutes=14), body=None)
        keys(due, ago=timedelta(minutes=1))
        purges = []

        looks = pages(lambda: purges.append(purge(batch_size=10)))

        assert looks <= 15  # Pages of 100: to look at all would take 40.
        assert purges[0].erased == due


@pytest.mark.django_db(transaction=True)
class TestPurgeAtTheSameTime:
    # See Note [Erased from the oldest on]: a row that is passed over would keep its response for good.
    @pytest.mark.engine("postgresql", "mariadb")
    def test_response_that_is_held_ends_the_run_and_is_erased_by_the_next(self, gate):
        keys(2, ago=3 * HOUR)
        keys(1, ago=2 * HOUR, key="held")
        keys(2, ago=HOUR)

        def hold():
            with transaction.atomic():
                list(IdempotencyKey.objects.filter(key="held").select_for_update())
                pass_gate(gate.path)

        def during():
            gate.wait()
            with gate:
                return purge(batch_size=2)

        with impatient():
            _, purged = together([hold, during])

        assert (purged.erased, purged.left, purged.finished) == (3, 1, False)
        assert responses() == 2
        assert purge().erased == 2

    # On SQLite, a claim that has looked at the clock keeps the purge out.
    @pytest.mark.engine("postgresql", "mariadb")
    def test_response_that_is_erased_while_a_retry_asks_for_it_has_expired(self):
        run("a")
        expires = timezone.now() + timedelta(seconds=0.2)
        IdempotencyKey.objects.update(expires=expires)
        purges = []

        def erase_first(execute, sql, params, many, context):
            if "INSERT" in sql:
                while timezone.now() < expires:
                    time.sleep(0.01)
                purges.extend(together([purge]))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(erase_first), pytest.raises(ResponseExpired):
            run("b")

        assert purges[0].erased == 1
        assert labels() == ["a"]

    def test_two_purges_share_the_work(self):
        keys(500)

        purges = together([lambda: purge(batch_size=20)] * 2)
        last = purge()

        assert sum(purged.erased for purged in purges) + last.erased == 500
        assert responses() == 0
