"""The protocol, without HTTP: synchronous and asynchronous callers are promised the same."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError, connection, transaction
from django.db.transaction import atomic

from django_idempotency import claims, store
from django_idempotency.exceptions import (
    KeyReused,
    RequestInProgress,
    ResponseExpired,
    ResponseNotStored,
    UsageError,
)
from django_idempotency.execution import aexecute, decide, execute, pause
from django_idempotency.models import IdempotencyKey
from django_idempotency.values import Outcome, Record, StoredResponse
from tests.app.models import Account, Effect
from tests.app.views import effect
from tests.coroutines import Stop, at_once
from tests.factories import AccountFactory
from tests.gate import TIMEOUT, pass_gate
from tests.operations import CODEC, TextCodec, connecting_with, expire_keys, labels, operation
from tests.threads import together


class HandlerError(Exception):
    """What a handler raises."""


def execute_async(operation, handler, **options):
    """Do what `execute` does, by way of `aexecute`: as an asynchronous view under WSGI."""
    return async_to_sync(aexecute)(operation, sync_to_async(handler), **options)


@pytest.fixture(params=[execute, execute_async], ids=["execute", "aexecute"])
def run(request):
    """Run a handler by each of the two, with a codec for text."""

    def run(handler, *, codec=CODEC, using=None, **options):
        chosen = {name: options.pop(name) for name in ("wait", "reruns") if name in options}
        return request.param(operation(**options), handler, codec=codec, using=using, **chosen)

    return run


def leave(label="a"):
    """Return a handler that leaves an effect and returns its label."""

    def handler():
        effect(label)
        return label

    return handler


def fail():
    effect("a")
    raise HandlerError


@pytest.mark.django_db
class TestExecute:
    def test_first_call_runs_the_handler(self, run):
        assert run(leave("a")) == Outcome(value="a", replayed=False)
        assert labels() == ["a"]

    def test_retry_replays_what_the_first_returned(self, run):
        run(leave("a"))

        assert run(leave("b")) == Outcome(value="a", replayed=True)
        assert labels() == ["a"]

    def test_first_caller_gets_the_value_itself(self, run):
        value = str(b"a", "ascii")

        assert run(lambda: value).value is value

    def test_handler_that_raises_is_forgotten(self, run):
        with pytest.raises(HandlerError):
            run(fail)

        assert labels() == []
        assert run(leave("b")) == Outcome(value="b", replayed=False)

    def test_value_that_is_not_stored_is_returned_and_forgotten(self, run):
        def handler():
            effect("a")
            return ""

        assert run(handler) == Outcome(value="", replayed=False)
        assert labels() == []
        assert run(leave("b")) == Outcome(value="b", replayed=False)

    def test_codec_that_fails_is_as_a_handler_that_raises(self, run):
        class Broken(TextCodec):
            def dump(self, value):
                raise HandlerError

        with pytest.raises(HandlerError):
            run(leave("a"), codec=Broken())

        assert labels() == []
        assert not IdempotencyKey.objects.exists()

    def test_other_parameters_are_refused(self, run):
        run(leave("a"))

        with pytest.raises(KeyReused):
            run(leave("b"), content=b"other")

        assert labels() == ["a"]

    def test_value_too_large_to_store_never_runs_again(self, run):
        assert run(leave("a" * 101)).value == "a" * 101

        with pytest.raises(ResponseNotStored) as raised:
            run(leave("b"))

        assert raised.value.original_status == 200
        assert labels() == ["a" * 101]

    def test_expired_key_runs_again(self, run):
        run(leave("a"))
        expire_keys()

        assert run(leave("b"), content=b"other") == Outcome(value="b", replayed=False)
        assert run(leave("c"), content=b"other") == Outcome(value="b", replayed=True)
        assert labels() == ["a", "b"]

    def test_expired_response_is_refused_while_its_tombstone_stands(self, run, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 3600
        run(leave("a"))
        expire_keys()

        with pytest.raises(ResponseExpired):
            run(leave("b"))

        assert labels() == ["a"]

    def test_handler_that_calls_itself_is_refused(self, run):
        def handler():
            effect("a")
            with pytest.raises(RequestInProgress):
                execute(operation(), leave("b"), codec=CODEC)
            return "a"

        assert run(handler).value == "a"
        assert labels() == ["a"]

    def test_rotated_secret_key_does_not_refuse_the_retry(self, run, settings):
        run(leave("a"))
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "rotated", [settings.SECRET_KEY]

        assert run(leave("b")) == Outcome(value="a", replayed=True)

    def test_secret_key_without_fallback_refuses_the_retry(self, run, settings):
        run(leave("a"))
        settings.SECRET_KEY = "rotated"

        with pytest.raises(KeyReused):
            run(leave("b"))

        assert labels() == ["a"]

    def test_nobody_waits_inside_of_a_transaction(self, run):
        def handler():
            with pytest.raises(RequestInProgress):
                execute(operation(), leave("b"), codec=CODEC, wait=3600)
            with pytest.raises(RequestInProgress):
                execute_async(operation(), leave("b"), codec=CODEC, wait=3600)
            return "a"

        assert run(handler).value == "a"

    @pytest.mark.django_db(databases=["default", "other"])
    def test_using_chooses_the_database(self, run):
        def handler():
            effect("a", using="other")
            return ""

        run(leave("a"), using="other")
        run(handler, using="other", key="b")

        assert IdempotencyKey.objects.using("other").count() == 1
        assert not IdempotencyKey.objects.using("default").exists()
        assert labels("other") == []


@pytest.mark.django_db(transaction=True)
class TestConcurrentCalls:
    @pytest.mark.engine("postgresql", "mariadb")
    def test_refused_at_once_while_the_first_runs(self, run, gate, second_poll):
        def handler():
            effect("a")
            pass_gate(gate.path)
            return "a"

        def retry():
            visitor = gate.wait()
            with pytest.raises(RequestInProgress):
                run(leave("b"))
            visitor.open()

        together([lambda: run(handler), retry])

        assert not second_poll.is_set()
        assert labels() == ["a"]
        assert run(leave("b")) == Outcome(value="a", replayed=True)

    @pytest.mark.engine("postgresql", "mariadb")
    def test_wait_ends_when_it_is_over(self, run, gate):
        def handler():
            pass_gate(gate.path)
            return "a"

        def retry():
            visitor = gate.wait()
            started = time.monotonic()
            with pytest.raises(RequestInProgress):
                run(leave("b"), wait=0.1)
            visitor.open()
            return time.monotonic() - started

        _, waited = together([lambda: run(handler), retry])

        assert waited >= 0.1
        assert labels() == []

    @pytest.fixture
    def second_poll(self, engine, monkeypatch):
        """Return an event that is set when a caller looks for the second time."""
        claim_of_this_engine = claims.claimer(connection)
        polls = []
        stop = Stop()

        def claim(*args):
            won = claim_of_this_engine(*args)
            if not won:
                polls.append(args)
            if len(polls) == 2:
                stop.reached.set()
            return won

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)
        return stop.reached

    @pytest.mark.engine("postgresql", "mariadb")
    def test_waits_for_the_first_ones_value(self, run, second_poll):
        def handler():
            effect("a")
            assert second_poll.wait(TIMEOUT)
            return "a"

        outcomes = together([lambda: run(handler, wait=TIMEOUT)] * 3)

        assert sorted(outcomes, key=lambda outcome: outcome.replayed) == [
            Outcome(value="a", replayed=False),
            Outcome(value="a", replayed=True),
            Outcome(value="a", replayed=True),
        ]
        assert labels() == ["a"]

    @pytest.mark.engine("postgresql", "mariadb")
    def test_runs_itself_when_the_first_one_fails(self, run, second_poll, gate):
        def first():
            with pytest.raises(HandlerError):
                run(failing)

        def failing():
            effect("a")
            pass_gate(gate.path)
            assert second_poll.wait(TIMEOUT)
            raise HandlerError

        def retry():
            gate.wait().open()
            return run(leave("b"), wait=TIMEOUT)

        _, outcome = together([first, retry])

        assert outcome == Outcome(value="b", replayed=False)
        assert labels() == ["b"]

    @pytest.mark.engine("postgresql", "mariadb")
    def test_waits_without_a_transaction(self, run, second_poll, monkeypatch):
        transactions = []
        sleep, asleep = time.sleep, asyncio.sleep

        def spying_sleep(seconds):
            transactions.append(store.in_transaction())
            sleep(seconds)

        async def spying_asleep(seconds):
            transactions.append(await sync_to_async(store.in_transaction)())
            await asleep(seconds)

        def handler():
            assert second_poll.wait(TIMEOUT)
            return "a"

        monkeypatch.setattr(time, "sleep", spying_sleep)
        monkeypatch.setattr("django_idempotency.execution.sleep", spying_asleep)
        together([lambda: run(handler, wait=TIMEOUT)] * 2)

        assert transactions
        assert not any(transactions)

    @pytest.mark.engine("sqlite")
    def test_sqlite_waits_for_its_one_writer_and_replays(self, run, gate):
        def handler():
            effect("a")
            pass_gate(gate.path)
            return "a"

        def retry():
            gate.wait().open()
            return run(leave("b"))

        outcomes = together([lambda: run(handler), retry])

        assert outcomes == [Outcome(value="a", replayed=False), Outcome(value="a", replayed=True)]


CHANGE = "UPDATE app_account SET balance = balance + 1"


def change_elsewhere():
    """Change the account in another session, and commit."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(CHANGE)
    finally:
        other.close()


@pytest.fixture
def snapshots(engine):
    """Let transactions fail that change what has changed since they began to look."""
    variants: dict[str, dict[str, Any]] = {
        "postgresql": {"isolation_level": 3},  # REPEATABLE READ
        "mariadb": {"init_command": "SET SESSION innodb_snapshot_isolation = ON", "isolation_level": "repeatable read"},
    }
    with connecting_with(**variants[engine]):
        yield


class Failing:
    """A handler whose transaction the database gives up, as often as its `failures` say."""

    def __init__(self):
        self.runs = 0
        self.failures = 1

    def __call__(self):
        self.runs += 1
        account = Account.objects.get()
        effect(f"run {self.runs}")
        if self.failures:
            self.failures -= 1
            change_elsewhere()
        account.balance += 1000
        account.save()
        return f"run {self.runs}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.engine("postgresql", "mariadb")
@pytest.mark.usefixtures("snapshots")
class TestReruns:
    """The claim is SQLite's one writer: nobody can change anything meanwhile."""

    @pytest.fixture
    def handler(self):
        AccountFactory.create(balance=0)
        return Failing()

    def test_transaction_that_the_database_gave_up_propagates_by_default(self, run, handler):
        with pytest.raises(OperationalError):
            run(handler)

        assert handler.runs == 1
        assert labels() == []
        assert not IdempotencyKey.objects.exists()

    def test_runs_again_when_asked_to(self, run, handler):
        assert run(handler, reruns=1) == Outcome(value="run 2", replayed=False)
        assert labels() == ["run 2"]
        assert Account.objects.get().balance == 1001
        assert run(handler, reruns=1).replayed

    def test_as_often_as_asked_to(self, run, handler):
        handler.failures = 3
        with pytest.raises(OperationalError):
            run(handler, reruns=2)

        assert handler.runs == 3
        assert labels() == []

    def test_not_inside_of_the_callers_transaction(self, run, handler):
        with pytest.raises(OperationalError), atomic():
            run(handler, reruns=5)

        assert handler.runs == 1

    def test_not_for_other_errors(self, run, handler):
        def failing():
            handler.runs += 1
            with connection.cursor() as cursor:
                cursor.execute("SELECT * FROM missing")
            return "a"

        with pytest.raises(Exception, match="missing"):
            run(failing, reruns=5)

        assert handler.runs == 1

    def test_real_deadlock(self, run):
        accounts = AccountFactory.create_batch(2, balance=0)
        first_runs = Stop()
        both_hold_one = [first_runs, Stop()]

        def transfer(key, mine, others):
            number = accounts.index(mine)

            def handler():
                Account.objects.filter(pk=mine.pk).update(balance=1)
                both_hold_one[number].reached.set()
                assert both_hold_one[1 - number].reached.wait(TIMEOUT)
                Account.objects.filter(pk=others.pk).update(balance=2)
                effect(key)
                return key

            # On a busy machine the two may meet again, each time that one of them is given up.
            return run(handler, key=key, reruns=30)

        one, other = accounts
        together([lambda: transfer("a", one, other), lambda: transfer("b", other, one)])

        assert sorted(labels()) == ["a", "b"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.engine("postgresql")
class TestRerunsOfACommit:
    def test_commit_that_cannot_be_serialized_runs_again(self, run):
        runs = []

        def handler():
            runs.append(Account.objects.count())
            Account.objects.create()
            effect(f"run {len(runs)}")
            if len(runs) == 1:
                write_skew_elsewhere()
            return f"run {len(runs)}"

        def write_skew_elsewhere():
            other = connection.copy()
            try:
                with other.cursor() as cursor:
                    cursor.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
                    cursor.execute("SELECT count(*) FROM app_account")
                    cursor.execute("INSERT INTO app_account (balance) VALUES (1)")
                    cursor.execute("COMMIT")
            finally:
                other.close()

        with connecting_with(isolation_level=4):  # SERIALIZABLE
            outcome = run(handler, reruns=3)

        assert outcome == Outcome(value="run 2", replayed=False)
        assert runs == [0, 1]
        assert labels() == ["run 2"]


@pytest.mark.django_db(transaction=True)
class TestAexecute:
    def test_each_of_many_at_once_has_a_transaction_of_its_own(self):
        def call(number):
            async def handler():
                await Effect.objects.acreate(label=f"{number} a")
                await asyncio.sleep(0)
                if number % 3 == 0:
                    raise HandlerError
                await Effect.objects.acreate(label=f"{number} b")
                return "a"

            return lambda: aexecute(operation(str(number)), handler, codec=CODEC)

        results = at_once(*[call(number) for number in range(30)])

        kept = [number for number in range(30) if number % 3]
        assert [isinstance(result, HandlerError) for result in results] == [number % 3 == 0 for number in range(30)]
        assert sorted(labels()) == sorted(f"{number} {part}" for number in kept for part in "ab")
        assert IdempotencyKey.objects.completed().count() == len(kept)

    def test_many_at_once_with_one_key_run_once(self):
        async def handler():
            await Effect.objects.acreate(label="a")
            await asyncio.sleep(0)
            return "a"

        results = at_once(*[lambda: aexecute(operation(), handler, codec=CODEC, wait=TIMEOUT)] * 16)

        assert sorted(result.replayed for result in results) == [False] + [True] * 15
        assert {result.value for result in results} == {"a"}
        assert labels() == ["a"]


@pytest.mark.django_db(transaction=True)
class TestCancellation:
    """A client that goes away cancels the request's task, at whichever await it is."""

    @pytest.fixture
    def stop(self):
        return Stop()

    @pytest.fixture
    def cancelled(self, stop):
        """Run a call, cancel it at the stop, and see what its connection is like afterwards."""

        async def request(handler, codec, wait):
            task = asyncio.ensure_future(aexecute(operation(), handler, codec=codec, wait=wait))
            await stop.wait()
            task.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            stop.released.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not await sync_to_async(store.in_transaction)()
            await Effect.objects.acreate(label="usable")

        def cancelled(handler, *, codec=CODEC, wait=0.0):
            [result] = at_once(lambda: request(handler, codec, wait))
            assert result is None, result

        return cancelled

    async def handler(self):
        await Effect.objects.acreate(label="a")
        return "a"

    def test_while_claiming(self, cancelled, stop, engine, monkeypatch):
        claim_of_this_engine = claims.claimer(connection)

        def claim(*args):
            won = claim_of_this_engine(*args)
            stop()
            return won

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)

        cancelled(self.handler)

        assert labels() == ["usable"]
        assert not IdempotencyKey.objects.exists()

    def test_while_the_handler_awaits(self, cancelled, stop):
        async def handler():
            await Effect.objects.acreate(label="a")
            stop.reached.set()
            await asyncio.Event().wait()
            return "a"

        cancelled(handler)

        assert labels() == ["usable"]
        assert not IdempotencyKey.objects.exists()

    def test_while_the_handler_writes(self, cancelled, stop):
        def write():
            effect("a")
            stop()
            effect("b")

        async def handler():
            await sync_to_async(write)()
            return "a"

        cancelled(handler)

        assert labels() == ["usable"]
        assert not IdempotencyKey.objects.exists()

    def test_while_settling(self, cancelled, stop):
        class Slow(TextCodec):
            def dump(self, value):
                stop()
                return super().dump(value)

        cancelled(self.handler, codec=Slow())

        assert labels() == ["usable"]
        assert not IdempotencyKey.objects.exists()

    def test_while_committing(self, cancelled, stop):
        async def handler():
            await sync_to_async(transaction.on_commit)(stop)
            return await self.handler()

        cancelled(handler)

        assert labels() == ["a", "usable"]
        assert IdempotencyKey.objects.completed().count() == 1
        assert execute(operation(), leave("b"), codec=CODEC).replayed

    @pytest.mark.engine("postgresql", "mariadb")
    def test_while_waiting(self, cancelled, stop, gate, engine, monkeypatch):
        claim_of_this_engine = claims.claimer(connection)

        def claim(*args):
            won = claim_of_this_engine(*args)
            if not won:
                stop.reached.set()
            return won

        def first():
            effect("first")
            pass_gate(gate.path)
            return "first"

        def second():
            visitor = gate.wait()
            try:
                cancelled(self.handler, wait=TIMEOUT)
            finally:
                visitor.open()

        monkeypatch.setitem(claims.CLAIMERS, engine, claim)

        together([lambda: execute(operation(), first, codec=CODEC), second])

        assert sorted(labels()) == ["first", "usable"]


class TestDecide:
    RESPONSE = StoredResponse(status=201, body=b"a")

    def record(self, **changes):
        return Record(
            **{
                "fingerprint": operation().fingerprint.sign(),
                "response": self.RESPONSE,
                "completed": True,
                "expired": False,
                "renewable": False,
                **changes,
            }
        )

    def test_completed_is_answered(self):
        assert decide(operation(), self.record()) is self.RESPONSE

    @pytest.mark.parametrize("changes", [{"completed": False}, {"expired": True, "renewable": True}])
    def test_unfinished_is_in_progress(self, changes):
        with pytest.raises(RequestInProgress):
            decide(operation(), self.record(**changes))

    def test_nothing_remembered_is_in_progress(self):
        with pytest.raises(RequestInProgress):
            decide(operation(), None)

    def test_other_parameters_are_refused(self):
        with pytest.raises(KeyReused):
            decide(operation(content=b"other"), self.record())

    def test_other_parameters_are_refused_before_anything_is_told(self):
        for record in [self.record(expired=True), self.record(response=StoredResponse(status=201, body=None))]:
            with pytest.raises(KeyReused):
                decide(operation(content=b"other"), record)

    def test_expired_is_refused(self):
        with pytest.raises(ResponseExpired):
            decide(operation(), self.record(expired=True))

    def test_missing_body_is_refused(self):
        with pytest.raises(ResponseNotStored) as raised:
            decide(operation(), self.record(response=StoredResponse(status=201, body=None)))

        assert raised.value.original_status == 201

    def test_empty_body_is_answered(self):
        response = StoredResponse(status=204, body=b"")

        assert decide(operation(ttl=timedelta(1)), self.record(response=response)) is response


class TestPause:
    def test_next_look_is_not_after_the_deadline(self):
        assert pause(time.monotonic() - 1) == 0.0
        assert pause(time.monotonic() + 0.001) <= 0.001

    def test_callers_come_back_soon_and_not_at_one_moment(self):
        pauses = {pause(time.monotonic() + 3600) for _ in range(100)}

        assert len(pauses) > 1
        assert 0.0 < min(pauses) < max(pauses) <= 0.1


@pytest.mark.django_db(transaction=True)
class TestTasksOnOneThread:
    def test_another_tasks_open_operation_refuses_this_one(self):
        entered, ended = asyncio.Event(), asyncio.Event()

        async def first():
            await sync_to_async(effect)("first")
            entered.set()
            await ended.wait()
            return "first"

        async def second():
            await entered.wait()
            try:
                await aexecute(operation("second"), first, codec=CODEC)
            finally:
                ended.set()

        async def both():
            calls = aexecute(operation("first"), first, codec=CODEC), second()
            return await asyncio.gather(*calls, return_exceptions=True)

        done, refused = async_to_sync(both)()

        assert done == Outcome(value="first", replayed=False)
        assert isinstance(refused, UsageError)
        assert "ThreadSensitiveContext" in str(refused)
        assert labels() == ["first"]

    def test_refused_one_runs_once_the_other_has_ended(self):
        async def handler():
            await sync_to_async(effect)("a")
            return "a"

        async def in_turn():
            return [await aexecute(operation(key), handler, codec=CODEC) for key in ("1", "2")]

        assert [outcome.replayed for outcome in async_to_sync(in_turn)()] == [False, False]
        assert labels() == ["a", "a"]

    def test_operation_inside_of_its_own_caller_runs(self):
        async def inner():
            await sync_to_async(effect)("inner")
            return "inner"

        async def outer():
            return (await aexecute(operation("inner"), inner, codec=CODEC)).value

        outcome = async_to_sync(aexecute)(operation("outer"), outer, codec=CODEC)

        assert outcome.value == "inner"
        assert labels() == ["inner"]
