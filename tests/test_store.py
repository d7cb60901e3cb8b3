"""A claim and its one transaction."""

import logging
from contextlib import suppress
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.transaction import atomic
from django.test import TestCase
from django.utils import timezone

from django_idempotency import batches, changes, claims, store
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey
from django_idempotency.values import StoredResponse
from tests.app.models import Effect
from tests.app.views import effect
from tests.gate import TIMEOUT, pass_gate
from tests.operations import connecting_with, expire_keys, labels, operation
from tests.threads import together

RESPONSE = StoredResponse(status=201, headers=[("Location", "/1/")], body=b"first")


class HandlerError(Exception):
    """What a handler raises."""


def run(label="a", *, response=RESPONSE, **options):
    """Claim, leave an effect if that is won, and settle; tell whether it was won, and what is remembered."""
    with store.claimed(operation(**options)) as claim:
        if claim.won:
            effect(label)
            claim.settle(response)
    return claim


def fail(label="a"):
    """Leave an effect, then raise."""
    effect(label)
    raise HandlerError


def run_and_mark(response):
    with store.claimed(operation()) as claim:
        effect("a")
        transaction.set_rollback(True)
        claim.settle(response)


def run_and_swallow(pk):
    with store.claimed(operation()) as claim:
        effect("a")
        with suppress(IntegrityError):
            Effect.objects.create(pk=pk)
        claim.settle(RESPONSE)


def run_and_fail():
    run()
    raise HandlerError


@pytest.fixture(
    params=[
        pytest.param(False, id="own transaction", marks=pytest.mark.django_db(transaction=True)),
        pytest.param(True, id="nested", marks=pytest.mark.django_db),
    ]
)
def surroundings(request):
    """Run the test without a transaction around it, or inside of one."""
    assert connection.in_atomic_block == request.param


@pytest.mark.usefixtures("surroundings")
class TestClaimed:
    def test_first_wins_and_is_remembered(self):
        claim = run()

        row = IdempotencyKey.objects.get()
        assert claim.won
        assert labels() == ["a"]
        assert (row.status, row.headers, bytes(row.body or b"")) == (201, [["Location", "/1/"]], b"first")
        assert row.completed is not None

    def test_second_loses_and_is_told(self):
        run()

        claim = run("b")

        assert not claim.won
        assert claim.record is not None
        assert claim.record.response == RESPONSE
        assert labels() == ["a"]

    def test_other_keys_are_independent(self):
        assert run(key="a").won
        assert run(key="b").won

    def test_handler_that_raises_leaves_nothing_behind(self):
        with pytest.raises(HandlerError), store.claimed(operation()):
            fail()

        assert labels() == []
        assert not IdempotencyKey.objects.exists()
        assert run("b").won

    def test_response_that_is_not_kept_leaves_nothing_behind(self):
        claim = run(response=None)

        assert claim.won
        assert labels() == []
        assert not IdempotencyKey.objects.exists()
        assert run("b").won

    def test_refusal_marked_for_rollback_leaves_nothing_behind(self):
        run_and_mark(StoredResponse(status=402))

        assert labels() == []
        assert not IdempotencyKey.objects.exists()

    @pytest.mark.parametrize("status", [None, 201, 303])
    def test_success_marked_for_rollback_is_not_answered(self, status):
        with pytest.raises(UsageError, match="marked for rollback"):
            run_and_mark(StoredResponse(status=status))

        assert labels() == []
        assert not IdempotencyKey.objects.exists()

    def test_success_after_a_swallowed_database_error_names_it(self):
        row = Effect.objects.create(label="before")
        with pytest.raises(UsageError, match="Let a database error propagate") as raised:
            run_and_swallow(row.pk)

        assert isinstance(raised.value.__cause__, IntegrityError)
        assert labels() == ["before"]
        assert not IdempotencyKey.objects.exists()

    def test_success_marked_for_rollback_blames_no_earlier_error(self):
        row = Effect.objects.create(label="before")
        with pytest.raises(IntegrityError), atomic():
            Effect.objects.create(pk=row.pk)
        with pytest.raises(UsageError) as raised:
            run_and_mark(RESPONSE)

        assert raised.value.__cause__ is None

    def test_database_error_in_a_savepoint_of_the_handler_is_its_own_affair(self):
        row = Effect.objects.create(label="before")
        with store.claimed(operation()) as claim:
            effect("a")
            with pytest.raises(IntegrityError), atomic():
                Effect.objects.create(pk=row.pk, label="b")
            claim.settle(RESPONSE)

        assert labels() == ["before", "a"]
        assert IdempotencyKey.objects.completed().exists()

    @pytest.mark.engine("postgresql")
    def test_key_that_the_handler_deletes_is_remembered_all_the_same(self):
        with store.claimed(operation()) as claim:
            effect("a")
            IdempotencyKey.objects.all().delete()
            claim.settle(RESPONSE)

        assert labels() == ["a"]
        assert not run().won

    @pytest.mark.engine("mariadb", "sqlite")
    def test_handler_that_deletes_its_key_is_told_so(self):
        with pytest.raises(UsageError, match="Delete only expired keys"), store.claimed(operation()) as claim:  # noqa: PT012
            effect("a")
            IdempotencyKey.objects.all().delete()
            claim.settle(RESPONSE)

        assert labels() == []

    def test_what_is_not_settled_is_committed_as_in_progress(self):
        with store.claimed(operation()):
            effect("a")

        claim = run("b")

        assert not claim.won
        assert claim.record is not None
        assert not claim.record.completed
        assert labels() == ["a"]

    def test_claim_within_the_claim_is_in_flight(self):
        with store.claimed(operation()) as outer, store.claimed(operation()) as inner:
            pass

        assert outer.won
        assert not inner.won
        assert inner.record is not None
        assert not inner.record.completed

    def test_expired_key_runs_again_and_is_renewed(self):
        run()
        expire_keys()

        claim = run("b", content=b"other", response=StoredResponse(status=202, body=None))

        row = IdempotencyKey.objects.get()
        assert claim.won
        assert labels() == ["a", "b"]
        assert operation(content=b"other").fingerprint.matches(row.fingerprint)
        assert (row.status, row.headers, row.body) == (202, [], None)
        assert row.expires > timezone.now()

    def test_expired_key_whose_run_fails_is_still_expired(self):
        run()
        expire_keys()
        with pytest.raises(HandlerError), store.claimed(operation()):
            raise HandlerError

        row = IdempotencyKey.objects.expired().get()
        assert bytes(row.body or b"") == b"first"
        assert run("b").won

    def test_renewed_key_forgets_the_old_response_while_it_runs(self):
        run()
        expire_keys()
        with store.claimed(operation()):
            row = IdempotencyKey.objects.get()

            assert (row.status, row.headers, row.body, row.completed) == (None, [], None, None)

    def test_tombstone_does_not_run_again(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(days=1)
        run()
        expire_keys()

        claim = run("b")

        assert not claim.won
        assert claim.record is not None
        assert claim.record.expired
        assert not claim.record.renewable
        assert labels() == ["a"]

    def test_key_past_its_tombstone_runs_again(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 0.5
        run()
        expire_keys()

        assert run("b").won


@pytest.mark.django_db(transaction=True)
class TestClaimedInItsOwnTransaction:
    def test_won_is_inside_of_one_and_lost_outside_of_any(self):
        with store.claimed(operation()) as first:
            inside = store.in_transaction()
            first.settle(RESPONSE)
        with store.claimed(operation()) as second:
            outside = store.in_transaction()

        assert (first.won, inside) == (True, True)
        assert (second.won, outside) == (False, False)

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_other_alias_is_another_memory(self):
        run()

        with store.claimed(operation(), using="other") as claim:
            effect("b", using="other")
            claim.settle(RESPONSE)

        assert claim.won
        assert labels() == ["a"]
        assert labels("other") == ["b"]
        assert IdempotencyKey.objects.using("other").completed().count() == 1

    def test_nothing_is_visible_before_the_commit(self):
        with store.claimed(operation()) as claim:
            effect("a")
            claim.settle(RESPONSE)
            [counts] = together([lambda: (Effect.objects.count(), IdempotencyKey.objects.count())])

            assert counts == (0, 0)

    def test_claim_that_the_database_takes_back_is_made_again(self, engine, monkeypatch):
        claim_of_this_engine = claims.claimer(connection)
        taken_back = [OperationalError(1213, "Deadlock"), OperationalError(1020, "Record has changed")]

        def claim(*args):
            if taken_back:
                raise taken_back.pop()
            return claim_of_this_engine(*args)

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)

        assert run().won

    @pytest.mark.parametrize("times", [1, 3])
    def test_batch_that_the_database_takes_back_is_made_again(self, monkeypatch, times):
        run()
        expire_keys()
        delete, taken_back = batches.delete, [OperationalError(1213, "Deadlock")] * times

        def delete_at_last(*args):
            if taken_back:
                raise taken_back.pop()
            return delete(*args)

        monkeypatch.setattr(batches, "delete", delete_at_last)
        ids = list(IdempotencyKey.objects.values_list("pk", flat=True))

        assert changes.delete_expired(ids, by=timezone.now(), using="default") == 1
        assert not IdempotencyKey.objects.exists()

    def test_batch_that_fails_otherwise_is_told(self, monkeypatch):
        def fail_to_delete(*args):
            raise OperationalError(2006, "Server has gone away")

        monkeypatch.setattr(batches, "delete", fail_to_delete)
        run()
        expire_keys()
        ids = list(IdempotencyKey.objects.values_list("pk", flat=True))

        with pytest.raises(OperationalError, match="gone away"):
            changes.delete_expired(ids, by=timezone.now(), using="default")

    def test_claim_that_the_database_takes_back_too_often_is_lost(self, engine, monkeypatch):
        attempts = []

        def claim(*args):
            attempts.append(args)
            raise OperationalError(1213, "Deadlock")

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)

        assert not run().won
        assert 1 < len(attempts) < 10
        assert labels() == []

    def test_claim_that_would_have_to_wait_is_lost_at_once(self, engine, monkeypatch):
        attempts = []

        def claim(*args):
            attempts.append(args)
            raise OperationalError(1205, "Lock wait timeout")

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)

        assert not run().won
        assert len(attempts) == 1

    def test_claim_that_is_taken_back_with_the_callers_transaction_is_the_callers_affair(self, engine, monkeypatch):
        def claim(*args):
            raise OperationalError(1213, "Deadlock")

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)

        with pytest.raises(OperationalError, match="Deadlock"), atomic():
            run()

    def test_broken_database_is_told(self, engine, monkeypatch):
        def claim(*args):
            raise OperationalError(2006, "Server has gone away")

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)

        with pytest.raises(OperationalError, match="gone away"):
            run()

    def test_error_of_the_handler_that_looks_like_a_lost_claim_is_the_handlers(self):
        for error in [OperationalError(1205, "Lock wait timeout"), OperationalError(1213, "Deadlock")]:
            with pytest.raises(OperationalError) as raised, store.claimed(operation()):
                raise error

            assert raised.value is error

    @pytest.mark.engine("postgresql", "mariadb")
    def test_expired_key_that_another_transaction_has_locked_is_in_flight(self, gate):
        run()
        expire_keys()

        def renew():
            with store.claimed(operation()) as claim:
                pass_gate(gate.path)
                effect("b")
                claim.settle(RESPONSE)
            return claim

        def retry():
            visitor = gate.wait()
            claim = run("c")
            visitor.open()
            return claim

        first, second = together([renew, retry])

        assert first.won
        assert not second.won
        assert second.record is not None
        assert second.record.renewable
        assert labels() == ["a", "b"]

    @pytest.mark.engine("postgresql", "mariadb")
    def test_locked_row_does_not_delay_replays(self, gate):
        run()

        def hold():
            with atomic():
                IdempotencyKey.objects.select_for_update().get()
                pass_gate(gate.path)

        def retry():
            visitor = gate.wait()
            claim = run("b")
            visitor.open()
            return claim

        _, claim = together([hold, retry])

        assert not claim.won
        assert claim.record is not None
        assert claim.record.response == RESPONSE

    def test_expired_key_that_is_purged_before_it_can_be_locked_runs_once(self, engine, monkeypatch):
        run()
        expire_keys()
        look_up = claims.look_up

        def purged(*args, **kwargs):
            record = look_up(*args, **kwargs)
            transaction.on_commit(lambda: IdempotencyKey.objects.all().delete())
            return record

        monkeypatch.setattr(claims, "look_up", purged)

        assert run("b").won
        assert IdempotencyKey.objects.completed().count() == 1

    def test_log_that_cannot_be_written_does_not_undo_what_is_committed(self, caplog):
        class Full(logging.Handler):
            def emit(self, record):
                raise OSError("No space left on device")

        caplog.set_level(logging.INFO, "django_idempotency")
        logger, full = logging.getLogger("django_idempotency"), Full()
        logger.addHandler(full)
        try:
            claim = run()
        finally:
            logger.removeHandler(full)

        assert claim.won
        assert labels() == ["a"]
        assert not run("b").won

    def test_expired_key_that_another_renews_meanwhile_is_replayed(self, settings, monkeypatch):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(days=1)
        run()
        IdempotencyKey.objects.update(expires=timezone.now() - timedelta(days=2))
        look_up = claims.look_up

        def renewed_afterwards(*args, **kwargs):
            monkeypatch.setattr(claims, "look_up", look_up)
            transaction.on_commit(lambda: run("b"))
            return look_up(*args, **kwargs)

        monkeypatch.setattr(claims, "look_up", renewed_afterwards)

        claim = run("c")

        assert not claim.won
        assert claim.record is not None
        assert claim.record.completed
        assert labels() == ["a", "b"]

    def test_callers_manual_transaction_is_not_ended(self):
        transaction.set_autocommit(False)
        try:
            effect("before")
            outside = store.in_transaction()
            claim = run("a")
            with pytest.raises(HandlerError), store.claimed(operation("other")):
                fail("b")
            [seen_elsewhere] = together([labels])
            transaction.commit()
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

        assert outside
        assert claim.won
        assert seen_elsewhere == []
        assert labels() == ["before", "a"]

    @pytest.mark.engine("mariadb")
    def test_callers_manual_transaction_that_is_taken_back_is_told(self, engine, monkeypatch):
        def claim(*args):
            raise OperationalError(1213, "Deadlock")

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)
        transaction.set_autocommit(False)
        try:
            with pytest.raises(OperationalError, match="Deadlock"):
                run()
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

    @pytest.mark.engine("postgresql")
    def test_lock_timeout_of_our_own_row_lock_means_in_flight(self):
        run()
        expire_keys()
        held = Barrier(2, timeout=TIMEOUT)

        def hold():
            with atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE django_idempotency_idempotencykey IN ROW EXCLUSIVE MODE")
                IdempotencyKey.objects.select_for_update().get()
                held.wait()
                held.wait()

        def retry():
            held.wait()
            claim = run("b")
            held.wait()
            return claim

        with connecting_with(options="-c lock_timeout=50ms"):
            _, claim = together([hold, retry])

        assert not claim.won

    @pytest.mark.engine("postgresql")
    def test_lock_timeout_of_the_claim_means_in_flight(self):
        held = Barrier(2, timeout=TIMEOUT)

        def hold():
            with atomic(), connection.cursor() as cursor:
                cursor.execute("LOCK TABLE django_idempotency_idempotencykey IN ACCESS EXCLUSIVE MODE")
                held.wait()
                held.wait()

        def retry():
            held.wait()
            claim = run()
            held.wait()
            return claim

        with connecting_with(options="-c lock_timeout=50ms"):
            _, claim = together([hold, retry])

        assert not claim.won
        assert claim.record is None


@pytest.mark.django_db(transaction=True)
class TestClaimedInsideOfATransaction:
    def test_failure_keeps_what_the_caller_did_before(self):
        with atomic():
            effect("before")
            with pytest.raises(HandlerError), store.claimed(operation()):
                fail()
            run(response=None, key="other")
            effect("after")

        assert labels() == ["before", "after"]

    def test_callers_rollback_takes_the_key_with_the_effects(self):
        with pytest.raises(HandlerError), atomic():
            run_and_fail()

        assert labels() == []
        assert not IdempotencyKey.objects.exists()
        assert run("b").won


class TestClaimedInTestCase(TestCase):
    """What a project's own tests see: Django's TestCase wraps each in a transaction."""

    def test_retry_replays(self):
        first, second = run("a"), run("b")

        assert first.won
        assert not second.won
        assert labels() == ["a"]

    def test_expired_key_runs_again(self):
        run("a")
        expire_keys()

        assert run("b").won
        assert labels() == ["a", "b"]


@pytest.mark.django_db(transaction=True)
class TestInTransaction:
    def test_tells_the_callers_transaction(self):
        outside = store.in_transaction()
        with atomic():
            inside = store.in_transaction()

        assert (outside, inside) == (False, True)

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_is_about_one_database(self):
        with atomic(using="other"):
            assert store.in_transaction(using="other")
            assert not store.in_transaction(using="default")


@pytest.mark.django_db(transaction=True)
class TestIsRerunnable:
    def test_only_what_the_database_gave_up_and_only_as_a_whole(self):
        deadlock, other = OperationalError(1213, "Deadlock"), OperationalError(2006, "gone away")

        assert store.is_rerunnable(deadlock)
        assert not store.is_rerunnable(other)
        with atomic():
            assert not store.is_rerunnable(deadlock)


class KeysElsewhere:
    def db_for_write(self, model, **hints):
        return "other"


class TestDatabase:
    def test_is_the_default(self):
        assert store.database() == "default"

    @pytest.mark.django_db(databases=["default", "other"])
    def test_router_decides(self, settings):
        settings.DATABASE_ROUTERS = ["tests.test_store.KeysElsewhere"]
        with store.claimed(operation()) as claim:
            claim.settle(RESPONSE)

        assert store.database() == "other"
        assert claim.using == "other"
        assert IdempotencyKey.objects.using("other").exists()
        assert not IdempotencyKey.objects.using("default").exists()
