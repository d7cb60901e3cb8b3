"""What the purge promises: what has expired goes, and nothing else, whatever happens at the same time."""

import math
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.signals import post_delete
from django.utils import timezone
from django.utils.connection import ConnectionDoesNotExist

from django_idempotency import signals
from django_idempotency.exceptions import UsageError
from django_idempotency.execution import execute
from django_idempotency.models import IdempotencyKey
from django_idempotency.purge import Purged, count_expired, purge
from django_idempotency.values import Outcome
from tests.app.models import Effect
from tests.app.views import effect
from tests.gate import TIMEOUT, pass_gate
from tests.operations import CODEC, connecting_with, expire_keys, labels, operation
from tests.purge.keys import HOUR, keys, names
from tests.threads import together


class InterruptionError(Exception):
    """What ends a purge in these tests."""


def run(label="a", **options):
    """Run an operation whose effect is *label*."""

    def handler():
        effect(label)
        return label

    return execute(operation(**options), handler, codec=CODEC)


def run_at(gate, label="a", **options):
    """Run an operation that stops at *gate*, its effect written and not committed."""

    def handler():
        effect(label)
        pass_gate(gate.path)
        return label

    return execute(operation(**options), handler, codec=CODEC)


def impatient():
    """Let whoever waits for a lock give up after a second: nobody here has to wait."""
    if connection.vendor == "mysql":
        return connecting_with(init_command="SET innodb_lock_wait_timeout = 1")
    return connecting_with(options="-c lock_timeout=1s")


class Rival:
    """Another transaction, with which the purge's first DELETE is in a deadlock that InnoDB ends by taking it back.

    It locks the expiry index's entry, as a scan of that index does, and waits for the row, which the purge has locked.
    It has written more, so that it is not the one that has to give way.
    """

    TABLE = IdempotencyKey._meta.db_table

    def __init__(self):
        self.thread = None
        self.session = None
        self.refused = []

    def __call__(self, execute, sql, params, many, context):
        if self.thread is not None or not sql.startswith("DELETE"):
            return execute(sql, params, many, context)
        self.thread = threading.Thread(target=self.lock)
        self.thread.start()
        self.wait()
        try:
            return execute(sql, params, many, context)
        except OperationalError as error:
            self.refused.append(error.args[0])
            raise
        finally:
            self.thread.join(TIMEOUT)

    def lock(self):
        with transaction.atomic(), connection.cursor() as cursor:
            self.session = connection.connection.thread_id()
            Effect.objects.bulk_create(Effect(label="rival") for _ in range(1000))
            cursor.execute(
                f"SELECT id FROM {self.TABLE} FORCE INDEX (idempotency_expires) WHERE expires <= NOW() FOR UPDATE"
            )
            transaction.set_rollback(True)
        connection.close()

    def wait(self):
        """Return once the other transaction waits for a lock."""
        other = connection.copy()
        deadline = time.monotonic() + TIMEOUT
        try:
            with other.cursor() as cursor:
                state = ""
                while state != "LOCK WAIT" and time.monotonic() < deadline:
                    time.sleep(0.15)  # The view is renewed only when nobody has looked at it for 0.1 s.
                    cursor.execute(
                        "SELECT MAX(trx_state) FROM information_schema.INNODB_TRX WHERE trx_mysql_thread_id = %s",
                        [self.session],
                    )
                    (state,) = cursor.fetchone()
        finally:
            other.close()


@pytest.mark.django_db
class TestPurge:
    """What one caller sees; in a transaction of the test's, as in his own tests."""

    def test_expired_keys_are_deleted_and_others_stay(self):
        keys(3)
        keys(1, ago=-HOUR, key="unexpired")

        purged = purge()

        assert (purged.deleted, purged.erased, purged.left, purged.finished) == (3, 0, 0, True)
        assert names() == ["unexpired"]

    def test_nothing_to_do(self):
        assert purge().rows == 0

    def test_purged_operation_runs_again(self):
        run("a")
        expire_keys()
        purge()

        assert run("b") == Outcome(value="b", replayed=False)
        assert labels() == ["a", "b"]

    def test_unexpired_operation_is_still_replayed(self):
        run("a")
        purge()

        assert run("b") == Outcome(value="a", replayed=True)

    def test_oldest_go_first(self):
        keys(1, ago=2 * HOUR, key="oldest")
        keys(1, ago=HOUR, key="younger")

        purge(max_rows=1)

        assert names() == ["younger"]

    @pytest.mark.parametrize("count", [1, 3, 10, 25, 30])
    def test_batches_and_pages_leave_nothing_out(self, count):
        keys(count)

        purged = purge(batch_size=3)

        assert (purged.deleted, names()) == (count, [])

    def test_keys_that_expired_at_one_moment_all_go(self):
        keys(25, expires=timezone.now())

        purged = purge(batch_size=1)

        assert (purged.deleted, names()) == (25, [])

    def test_batch_larger_than_the_engine_takes_is_cut(self):
        keys(1100)

        assert purge(batch_size=100_000).deleted == 1100

    @pytest.mark.parametrize("older_than", [timedelta(minutes=90), 5400, 5400.0])
    def test_older_than_spares_what_expired_later(self, older_than):
        keys(1, ago=2 * HOUR, key="old")
        keys(1, ago=HOUR, key="young")

        purge(older_than=older_than)

        assert names() == ["young"]

    def test_max_rows_ends_it(self):
        keys(5)

        purged = purge(batch_size=2, max_rows=3)

        assert (purged.deleted, purged.finished, len(names())) == (3, False, 2)

    def test_max_rows_that_suffice_let_it_finish(self):
        keys(3)

        assert purge(max_rows=3).finished

    def test_max_seconds_end_it(self):
        keys(2)

        purged = purge(max_seconds=1e-9)

        assert (purged.deleted, purged.finished) == (0, False)

    def test_is_asked_before_each_batch_whether_to_stop(self):
        keys(3)
        batches: list[Purged] = []

        purged = purge(batch_size=1, on_batch=batches.append, should_stop=lambda: len(batches) == 2)

        assert (purged.deleted, purged.finished, len(names())) == (2, False, 1)

    def test_tells_of_each_batch(self):
        keys(5)
        batches: list[Purged] = []

        purged = purge(batch_size=2, on_batch=batches.append)

        assert [batch.deleted for batch in batches] == [2, 4, 5]
        assert not any(batch.finished for batch in batches)
        assert purged.rate == purged.rows / purged.seconds

    def test_sleep_is_between_batches_only(self):
        keys(1)

        assert purge(sleep=3600).deleted == 1

    def test_sleep_is_left_to_stop(self):
        keys(2)
        batches: list[Purged] = []

        purged = purge(batch_size=1, sleep=3600, on_batch=batches.append, should_stop=lambda: bool(batches))

        assert purged.deleted == 1

    def test_sleep_ends(self):
        keys(2)

        assert purge(batch_size=1, sleep=0.001).deleted == 2

    def test_each_batch_is_signalled_with_its_count(self):
        keys(3)
        counts = []

        def count(count, operation, **kwargs):
            counts.append((count, operation))

        signals.purged.connect(count)
        try:
            purge(batch_size=2)
        finally:
            signals.purged.disconnect(count)

        assert counts == [(2, None), (1, None)]

    def test_rows_are_not_signalled_one_by_one(self):
        keys(1)
        deleted = []

        def receive(**kwargs):
            deleted.append(kwargs)

        post_delete.connect(receive)
        try:
            purge()
        finally:
            post_delete.disconnect(receive)

        assert (deleted, names()) == ([], [])

    @pytest.mark.django_db(databases=["default", "other"])
    def test_other_database_is_purged_on_its_own(self):
        keys(1)
        keys(1, using="other")

        purge(using="other")

        assert (len(names()), len(names("other"))) == (1, 0)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *(("batch_size", value) for value in (0, -1, 1.5, True, None, "1", 100_001)),
            *(("max_rows", value) for value in (0, -1, 1.5, False, "1")),
            *(("max_seconds", value) for value in (0, -1, math.nan, math.inf, True, "1")),
            *(("sleep", value) for value in (-1, math.nan, math.inf, None, "1")),
            *(("older_than", value) for value in (-1, timedelta(seconds=-1), math.nan, math.inf, None, "1", 1e12)),
        ],
    )
    def test_argument_that_cannot_be_meant_is_refused(self, name, value):
        keys(1)

        with pytest.raises(UsageError, match=f"^{name} must be "):
            purge(**{name: value})

        assert len(names()) == 1

    def test_database_that_does_not_exist_is_refused(self):
        with pytest.raises(ConnectionDoesNotExist):
            purge(using="nowhere")


@pytest.mark.django_db
class TestCountExpired:
    def test_counts_and_changes_nothing(self):
        keys(3)
        keys(1, ago=-HOUR)

        expired = count_expired()

        assert (expired.deleted, expired.erased, expired.rows) == (3, 0, 3)
        assert len(names()) == 4

    def test_spares_what_the_purge_spares(self):
        keys(1, ago=2 * HOUR)
        keys(1, ago=HOUR)

        assert count_expired(older_than=5400).rows == 1

    def test_argument_that_cannot_be_meant_is_refused(self):
        with pytest.raises(UsageError, match=r"^older_than must be "):
            count_expired(older_than=-1)


class TestPurged:
    def test_rate_of_nothing_is_zero(self):
        assert Purged().rate == 0.0


@pytest.mark.django_db(transaction=True)
class TestPurgeAtTheSameTime:
    """What happens beside requests, and beside another purge."""

    def test_each_batch_is_committed_by_itself(self):
        keys(3)

        def interrupt(purged):
            raise InterruptionError

        with pytest.raises(InterruptionError):
            purge(batch_size=2, on_batch=interrupt)

        assert len(names()) == 1
        assert purge().deleted == 1

    def test_open_transaction_is_refused(self):
        keys(1)

        with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
            purge()

        assert len(names()) == 1

    def test_key_renewed_after_it_was_found_stays(self):
        run("a", key="renewed")
        expire_keys()
        keys(1, ago=2 * HOUR)

        purged = purge(batch_size=1, on_batch=lambda purged: purged.deleted == 1 and run("b", key="renewed"))

        assert (purged.deleted, purged.left) == (1, 1)
        assert run("c", key="renewed") == Outcome(value="b", replayed=True)
        assert labels() == ["a", "b"]

    def test_key_used_again_after_it_was_purged_stays(self):
        run("a")
        expire_keys()

        purge(on_batch=lambda purged: run("b"))

        assert run("c") == Outcome(value="b", replayed=True)

    @pytest.mark.engine("postgresql", "mariadb")
    def test_key_that_is_being_renewed_is_left_at_once(self, gate):
        run("a")
        keys(2)
        expire_keys()

        def during():
            gate.wait()
            with gate:
                return purge()

        with impatient():
            renewed, purged = together([lambda: run_at(gate, "b"), during])

        assert (purged.deleted, purged.left) == (2, 1)
        assert renewed == Outcome(value="b", replayed=False)
        assert run("c") == Outcome(value="b", replayed=True)
        assert labels() == ["a", "b"]

    @pytest.mark.engine("sqlite")
    def test_purge_waits_for_the_one_writer(self, gate):
        run("a")
        keys(2)
        expire_keys()
        begun = threading.Event()

        def during():
            gate.wait()
            begun.set()
            return purge()

        def end():
            begun.wait(TIMEOUT)
            gate.open()

        renewed, purged, _ = together([lambda: run_at(gate, "b"), during, end])

        assert (purged.deleted, renewed.replayed) == (2, False)
        assert run("c") == Outcome(value="b", replayed=True)
        assert labels() == ["a", "b"]

    # See Note [A batch must not scan]: with these numbers, MariaDB's optimizer prefers a scan.
    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.parametrize("count", [3, 300])
    @pytest.mark.parametrize("tombstones", [False, True], ids=["deletes", "erases"])
    def test_purge_does_not_wait_for_a_first_request(self, gate, count, tombstones, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 86400 if tombstones else 0
        keys(count)

        def during():
            gate.wait()
            with gate:
                return purge()

        with impatient():
            _, purged = together([lambda: run_at(gate, "a"), during])

        assert (purged.rows, purged.left) == (count, 0)
        assert labels() == ["a"]

    def test_two_purges_share_the_work(self):
        keys(500)

        purges = together([lambda: purge(batch_size=20)] * 2)
        # What both were at in the same moment, each may have left to the other.
        rest = purge(batch_size=20)

        assert rest.deleted < 500
        assert sum(purged.deleted for purged in [*purges, rest]) == 500
        assert names() == []

    @pytest.mark.engine("mariadb")
    def test_batch_that_the_database_takes_back_is_tried_again(self):
        keys(300, ago=-HOUR)
        keys(1, key="expired")
        rival = Rival()

        with connection.execute_wrapper(rival):
            purged = purge()

        assert rival.refused == [1213]
        assert (purged.deleted, "expired" in names()) == (1, False)
