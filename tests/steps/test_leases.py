"""Who may go on with an operation: one at a time, and nobody whose lease was taken."""

import time
from threading import Thread
from typing import Any

import pytest
from django.db import connection, connections
from django.utils import timezone

from django_idempotency import leases, phases, store
from django_idempotency.exceptions import KeyReused, RequestInProgress
from django_idempotency.heartbeat import beating
from django_idempotency.models import IdempotencyKey, IdempotentRun
from django_idempotency.steps import Abort
from django_idempotency.values import Outcome
from tests.app.views import effect
from tests.coroutines import Stop
from tests.gate import TIMEOUT
from tests.operations import labels, operation
from tests.steps.stepping import LEASE, key_of, leave, run, run_of, run_out_leases, steps_of, taken
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


class Thrown:
    """Run something in a thread, and keep what it returns or raises."""

    def __init__(self, function):
        self.outcome = None
        self.thread = Thread(target=self._run, args=(function,))
        self.thread.start()

    def _run(self, function):
        try:
            self.outcome = function()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.outcome = error
        finally:
            connections.close_all()

    def join(self):
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()
        return self.outcome


def refuse(operation):
    raise AssertionError("must not run")


class TestTake:
    def test_held_operation_is_in_progress(self):
        taken()

        with pytest.raises(RequestInProgress):
            run(refuse)

    def test_dead_worker_is_waited_for_until_its_lease_has_run_out(self):
        taken()
        run_out_leases()

        assert run(lambda operation: str(operation.attempt)).value == "2"

    def test_lease_that_was_given_back_is_taken_at_once(self):
        def fail(operation):
            operation.step("a", leave("a", 1))
            raise ValueError("the handler")

        with pytest.raises(ValueError, match="the handler"):
            run(fail)

        assert run(lambda operation: str(operation.step("a", refuse))).value == "1"

    @pytest.mark.engine("mariadb")
    def test_lease_ends_by_the_clock_of_the_database(self):
        """MariaDB lets a session have a clock of its own."""
        taken()

        with connection.cursor() as cursor:
            cursor.execute("SET timestamp = UNIX_TIMESTAMP() + 61")
            try:
                assert run(lambda operation: str(operation.attempt)).value == "2"
            finally:
                cursor.execute("SET timestamp = DEFAULT")

    def test_other_parameters_are_refused_while_it_runs(self):
        taken()

        with pytest.raises(KeyReused):
            run(refuse, content=b"other")

    def test_plain_request_with_its_key_is_in_progress(self):
        taken()

        with store.claimed(operation()) as claim:
            assert not claim.won
            assert claim.record is not None
            assert not claim.record.completed

    def test_waiting_caller_gets_the_answer(self):
        stop = Stop()

        def handler(operation):
            operation.step("a", lambda: effect("a"))
            stop()
            return "answer"

        first = Thrown(lambda: run(handler))
        assert stop.reached.wait(TIMEOUT)
        second = Thrown(lambda: run(refuse, wait=TIMEOUT))
        stop.released.set()

        assert first.join() == Outcome(value="answer", replayed=False)
        assert second.join() == Outcome(value="answer", replayed=True)

    @pytest.mark.engine("postgresql", "mariadb")
    def test_step_that_lasts_longer_than_the_lease_is_not_taken_over(self):
        stop = Stop()

        def handler(operation):
            operation.step("a", stop)
            return "answer"

        first = Thrown(lambda: run(handler))
        assert stop.reached.wait(TIMEOUT)
        with pytest.raises(RequestInProgress):
            run(refuse)
        stop.released.set()

        assert first.join().value == "answer"


class TestTwentyConcurrentRetries:
    @pytest.fixture(autouse=True)
    def calls(self):
        self.made: list[str] = []

    def attempt(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"))
            operation.call("b", self.made.append)
            operation.step("c", lambda: effect("c"))
            return "answer"

        try:
            return run(handler)
        except RequestInProgress:
            return None

    def test_one_runs(self):

        outcomes = together([self.attempt] * 20)

        assert labels() == ["a", "c"]
        assert len(self.made) == 1
        assert [outcome.replayed for outcome in outcomes if outcome].count(False) == 1
        assert {outcome.value for outcome in outcomes if outcome} == {"answer"}

    def test_one_takes_a_dead_workers_place(self):
        taken()
        run_out_leases()

        outcomes = together([self.attempt] * 20)

        assert labels() == ["a", "c"]
        assert len(self.made) == 1
        assert [outcome.replayed for outcome in outcomes if outcome].count(False) == 1
        assert run_of().attempt == 2


class TestZombie:
    """A worker is paused, its lease runs out, another one ends the operation; then it wakes."""

    @pytest.fixture(params=["before a step", "in a call", "before a call", "before the end", "before an abort"])
    def place(self, request):
        return request.param

    def test_cannot_commit_anything(self, place):
        stop = Stop()
        calls: list[Any] = []

        def handler(operation):
            def pause(at):
                if at == place and operation.attempt == 1:
                    stop()

            def call(key):
                calls.append(key)
                pause("in a call")

            operation.step("a", lambda: effect("a"), undo=lambda result: effect("undone"))
            pause("before a step")
            operation.step("b", lambda: effect("b"))
            pause("before a call")
            operation.call("c", call)
            pause("before an abort")
            if place == "before an abort" and operation.attempt == 1:
                raise Abort("aborted")
            pause("before the end")
            return f"attempt {operation.attempt}"

        zombie = Thrown(lambda: run(handler))
        assert stop.reached.wait(TIMEOUT)
        run_out_leases()
        assert run(handler) == Outcome(value="attempt 2", replayed=False)
        before = (key_of().completed, steps_of(), labels())
        stop.released.set()

        assert isinstance(zombie.join(), RequestInProgress)
        assert (key_of().completed, steps_of(), labels()) == before
        assert labels() == ["a", "b"]
        assert len(set(calls)) == 1
        assert run(handler) == Outcome(value="attempt 2", replayed=True)

    def test_cannot_give_back_the_lease_of_another(self):
        stop = Stop()

        def fail(operation):
            operation.step("a", lambda: effect("a"))
            stop()
            raise ValueError

        zombie = Thrown(lambda: run(fail))
        assert stop.reached.wait(TIMEOUT)
        run_out_leases()
        taken()
        stop.released.set()

        assert isinstance(zombie.join(), ValueError)
        with pytest.raises(RequestInProgress):
            run(refuse)

    def test_cannot_extend_the_lease_of_another(self):
        zombie = taken()
        run_out_leases()
        taken()
        until = run_of().lease_until

        assert not Thrown(lambda: leases.extend(zombie)).join()
        assert run_of().lease_until == until

    def test_cannot_commit_while_another_is_at_work(self):
        zombie = taken()
        run_out_leases()
        taken()

        with pytest.raises(RequestInProgress), phases.phase(zombie):
            effect("a")
        assert labels() == []

    def test_of_an_operation_that_began_anew_cannot_commit(self):
        zombie = taken()
        IdempotencyKey.objects.update(expires=timezone.now())
        fresh = taken()

        assert (zombie.attempt, fresh.attempt) == (1, 1)
        with pytest.raises(RequestInProgress), phases.phase(zombie):
            effect("a")
        assert labels() == []


class TestHeartbeat:
    def test_extends_the_lease_while_its_owner_is_at_work(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"))
            first = run_of().lease_until
            deadline = time.monotonic() + TIMEOUT
            while run_of().lease_until == first:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return "answer"

        assert run(handler, lease=LEASE / 60).value == "answer"

    def test_waits_for_nobody(self):
        """The row is locked by the owner's own step: the beat is left out."""
        lease = taken()

        with phases.phase(lease):
            beat = Thrown(lambda: leases.extend(lease))
            outcome = beat.join()

        assert outcome is not True

    test_waits_for_nobody = pytest.mark.engine("postgresql", "mariadb")(test_waits_for_nobody)

    def test_ends_with_the_block(self):
        lease = taken()

        with beating(lease):
            pass

        phases.release(lease, note="")
        assert not IdempotentRun.objects.exists()

    def test_gives_nothing_back_that_was_released(self):
        lease = taken()
        IdempotentRun.objects.update(lease_until=None)

        assert not Thrown(lambda: leases.extend(lease)).join()
        assert run_of().lease_until is None
