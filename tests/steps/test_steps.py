"""What a handler is promised of its operation: steps, calls, and what becomes of them when it fails."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.transaction import atomic

from django_idempotency.exceptions import OutcomeUncertain, RequestInProgress, StepsChanged, UsageError
from django_idempotency.models import IdempotencyKey, IdempotentRun, IdempotentStep
from django_idempotency.purge import purge
from django_idempotency.steps import NOT_DONE, Abort
from django_idempotency.values import Outcome
from tests.app.views import effect
from tests.operations import expire_keys, labels
from tests.steps.stepping import key_of, leave, note, run, run_of, steps_of

pytestmark = pytest.mark.django_db(transaction=True)


class HandlerError(Exception):
    """What a handler raises."""


class Times:
    """Something that goes wrong so many times, and then no more."""

    def __init__(self, times: int = 1) -> None:
        self.left = times

    def fail(self) -> None:
        if self.left:
            self.left -= 1
            raise HandlerError


def failing(handler):
    """Run *handler*, and let it raise."""
    with pytest.raises(HandlerError):
        run(handler)


class TestStep:
    def test_handler_runs_once_and_is_replayed(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"))
            return "answer"

        assert run(handler) == Outcome(value="answer", replayed=False)
        assert run(handler) == Outcome(value="answer", replayed=True)
        assert labels() == ["a"]

    def test_result_is_returned(self):
        def handler(operation):
            return str(operation.step("a", lambda: {"id": 1}))

        assert run(handler).value == "{'id': 1}"

    def test_result_is_read_from_json_the_first_time_too(self):
        results: list[Any] = []
        times = Times()

        def handler(operation):
            results.append(operation.step("a", lambda: (1, Decimal("4.20"), datetime(2026, 11, 1, tzinfo=UTC))))
            times.fail()
            return "answer"

        failing(handler)
        run(handler)
        assert results == [[1, "4.20", "2026-11-01T00:00:00Z"]] * 2

    def test_recorded_step_does_not_run_again(self):
        times = Times()

        def handler(operation):
            first = operation.step("a", leave("a", "first"))
            times.fail()
            return operation.step("b", leave("b", first))

        failing(handler)
        assert labels() == ["a"]
        assert run(handler) == Outcome(value="first", replayed=False)
        assert labels() == ["a", "b"]

    def test_step_that_raises_leaves_nothing(self):
        times = Times()

        def do():
            effect("b")
            times.fail()

        def handler(operation):
            operation.step("a", lambda: effect("a"))
            operation.step("b", do)
            return "answer"

        failing(handler)
        assert labels() == ["a"]
        assert steps_of() == [("a", "done")]
        assert run(handler).value == "answer"
        assert labels() == ["a", "b"]

    def test_nothing_runs_after_a_failed_step(self):
        times = Times()

        def handler(operation):
            try:
                operation.step("a", times.fail)
            except HandlerError:
                operation.step("b", lambda: effect("b"))
            return "answer"

        failing(handler)

        assert labels() == []

    def test_handler_cannot_end_after_a_failed_step(self):
        times = Times()

        def handler(operation):
            operation.step("a", lambda: effect("a"))
            try:
                operation.step("b", times.fail)
            except HandlerError:
                return "hidden"
            return "answer"

        failing(handler)
        assert run(handler).value == "answer"

    def test_transaction_marked_for_rollback_is_refused(self):
        def do():
            effect("a")
            transaction.set_rollback(True)

        with pytest.raises(UsageError, match="marked its transaction for rollback"):
            run(lambda operation: operation.step("a", do))

        assert labels() == []

    def test_result_that_json_does_not_have_is_refused(self):
        with pytest.raises(UsageError, match="cannot be recorded"):
            run(lambda operation: operation.step("a", leave("a", object())))

        assert labels() == []

    def test_step_within_a_step_is_refused(self):
        def handler(operation):
            return operation.step("a", lambda: operation.step("b", lambda: effect("b")))

        with pytest.raises(UsageError, match="A transaction is open"):
            run(handler)

        assert labels() == []

    @pytest.mark.parametrize("name", ["", "a" * 101, "a\n", None], ids=repr)
    def test_name_that_cannot_be_one_is_refused(self, name):
        with pytest.raises(UsageError, match="name must be"):
            run(lambda operation: operation.step(name, lambda: effect("a")))

        assert labels() == []

    def test_name_that_is_used_twice_is_refused(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"))
            operation.step("a", lambda: effect("a"))

        with pytest.raises(UsageError, match='"a 2"'):
            run(handler)

        assert labels() == ["a"]

    def test_step_runs_again_when_the_database_gives_up(self):
        def do():
            effect("a")
            if len(failures) < 2:
                failures.append(OperationalError(1213, "Deadlock found"))
                raise failures[-1]

        failures: list[OperationalError] = []

        run(lambda operation: operation.step("a", do) or "answer", reruns=2)

        assert labels() == ["a"]

    def test_open_transaction_is_refused(self):
        with atomic(), pytest.raises(UsageError, match="non_atomic_requests"):
            run(lambda operation: effect("a"))

        assert not IdempotencyKey.objects.exists()


class TestCall:
    def test_result_is_recorded(self):
        times = Times()
        calls: list[Any] = []

        def handler(operation):
            result = operation.call("charge", note(calls, {"id": 1}))
            times.fail()
            return str(result)

        failing(handler)
        assert run(handler).value == "{'id': 1}"
        assert len(calls) == 1

    def test_call_is_made_outside_of_a_transaction_after_its_permit(self):
        seen: list[Any] = []

        def call(key):
            seen.append((connection.in_atomic_block, steps_of()))

        run(lambda operation: operation.call("charge", call) or "answer")

        assert seen == [(False, [("charge", "permitted")])]
        assert steps_of() == [("charge", "done")]

    def test_call_in_a_transaction_is_refused(self):
        calls: list[Any] = []

        def handler(operation):
            with atomic():
                operation.call("charge", calls.append)

        with pytest.raises(UsageError, match="A transaction is open"):
            run(handler)

        assert calls == []

    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    def test_call_in_a_transaction_on_another_database_is_refused(self):
        calls: list[Any] = []

        def handler(operation):
            with atomic(using="other"):
                operation.call("charge", calls.append)

        with pytest.raises(UsageError, match="A transaction is open on 'other'"):
            run(handler)

        assert calls == []

    def test_key_is_the_same_in_each_attempt(self):
        times = Times(2)
        keys: list[Any] = []

        def handler(operation):
            def call(key):
                keys.append(key)
                times.fail()

            operation.call("charge", call)
            keys.append(operation.child_key("charge"))
            return "answer"

        failing(handler)
        failing(handler)
        run(handler)
        assert len(keys) == 4
        assert len(set(keys)) == 1
        assert str(uuid.UUID(keys[0])) == keys[0]

    def test_key_is_another_one_for_each_name_and_each_operation(self):
        keys: list[Any] = []

        def handler(operation):
            keys.extend([operation.child_key("a"), operation.child_key("b")])
            return "answer"

        run(handler, key="1")
        run(handler, key="2")
        expire_keys()
        run(handler, key="1")

        assert len(set(keys)) == 6

    def test_failed_call_ends_the_attempt_whatever_the_handler_makes_of_it(self):
        times = Times()

        def handler(operation):
            operation.step("a", lambda: effect("a"))
            try:
                operation.call("charge", lambda key: times.fail())
            except HandlerError as error:
                raise Abort("aborted") from error
            return "answer"

        failing(handler)
        assert run(handler).value == "answer"

    def test_result_that_json_does_not_have_leaves_the_call_uncertain(self):
        with pytest.raises(UsageError, match="cannot be recorded"):
            run(lambda operation: operation.call("charge", lambda key: object()))

        assert steps_of() == [("charge", "permitted")]

    def test_other_way_to_be_uncertain_is_refused(self):
        with pytest.raises(UsageError, match='"retry" or "hold"'):
            run(lambda operation: operation.call("charge", effect, if_uncertain="skip"))

        assert labels() == []


class TestHold:
    def test_uncertain_call_is_never_made_again(self):
        times = Times()
        calls: list[Any] = []

        def handler(operation):
            def call(key):
                calls.append(key)
                times.fail()

            operation.call("charge", call, if_uncertain="hold")
            return "answer"

        failing(handler)
        for _ in range(3):
            with pytest.raises(OutcomeUncertain):
                run(handler)

        assert len(calls) == 1
        assert run_of().state == IdempotentRun.State.UNCERTAIN
        assert IdempotentRun.objects.uncertain().get() == run_of()
        assert IdempotentStep.objects.uncertain().get().name == "charge"

    def test_hidden_refusal_does_not_end_the_operation(self):
        times = Times()

        def handler(operation):
            try:
                operation.call("charge", lambda key: times.fail(), if_uncertain="hold")
            except OutcomeUncertain:
                return "hidden"

        failing(handler)

        with pytest.raises(OutcomeUncertain):
            run(handler)

    def test_call_that_succeeds_is_not_held(self):
        def handler(operation):
            return operation.call("charge", lambda key: "charged", if_uncertain="hold")

        assert run(handler).value == "charged"

    def test_reconciler_tells_what_has_happened(self):
        times = Times()
        keys: list[Any] = []

        def handler(operation):
            def call(key):
                keys.append(key)
                times.fail()

            return operation.call("charge", call, if_uncertain="hold", reconcile=note(keys, "charged"))

        failing(handler)
        assert run(handler).value == "charged"
        assert len(keys) == 2
        assert len(set(keys)) == 1

    def test_call_that_has_not_happened_is_made(self):
        times = Times()
        calls: list[Any] = []

        def handler(operation):
            def call(key):
                calls.append(key)
                times.fail()
                return "charged"

            return operation.call("charge", call, if_uncertain="hold", reconcile=lambda key: NOT_DONE)

        failing(handler)
        assert run(handler).value == "charged"
        assert len(calls) == 2

    @pytest.mark.parametrize("if_uncertain", ["hold", "retry"])
    def test_reconciler_that_does_not_know_leaves_it_uncertain(self, if_uncertain):
        times = Times()
        calls: list[Any] = []

        def ask(key):
            raise HandlerError

        def handler(operation):
            def call(key):
                calls.append(key)
                times.fail()

            operation.call("charge", call, if_uncertain=if_uncertain, reconcile=ask)
            return "answer"

        failing(handler)
        with pytest.raises(OutcomeUncertain):
            run(handler)
        assert len(calls) == 1


class TestAbort:
    def test_what_is_done_is_undone_in_reverse_order(self):
        undone: list[Any] = []

        def handler(operation):
            operation.step("a", leave("a", 1), undo=undone.append)
            operation.step("b", leave("b", 2))
            operation.step("c", leave("c", 3), undo=undone.append)
            raise Abort("declined")

        assert run(handler) == Outcome(value="declined", replayed=False)
        assert undone == [3, 1]
        assert steps_of() == [("a", "undone"), ("b", "done"), ("c", "undone")]

    def test_answer_is_replayed(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"), undo=lambda result: effect("undone"))
            raise Abort("declined")

        run(handler)

        assert run(handler) == Outcome(value="declined", replayed=True)
        assert labels() == ["a", "undone"]

    def test_answer_that_is_not_stored_lets_a_retry_begin_anew(self):
        keys: list[Any] = []

        def handler(operation):
            operation.step("a", lambda: effect("a"), undo=lambda result: effect("undone"))
            keys.append(operation.child_key("charge"))
            raise Abort("")

        run(handler)
        run(handler)

        assert labels() == ["a", "undone"] * 2
        assert len(set(keys)) == 2
        assert not IdempotencyKey.objects.exists()
        assert not IdempotentRun.objects.exists()

    def test_call_is_undone_with_its_result_and_another_key(self):
        keys: list[Any] = []

        def handler(operation):
            operation.call("charge", note(keys, 1), undo=lambda *undone: keys.append(undone))
            raise Abort("declined")

        run(handler)

        charged, (result, refunded) = keys
        assert result == 1
        assert charged != refunded

    def test_undo_is_in_a_transaction_for_a_step_and_outside_for_a_call(self):
        seen: list[Any] = []

        def undo(*result):
            seen.append((connection.in_atomic_block, steps_of()))

        def handler(operation):
            operation.step("a", lambda: 1, undo=undo)
            operation.call("b", lambda key: 2, undo=undo)
            raise Abort("declined")

        run(handler)

        assert seen == [(False, [("a", "done"), ("b", "undoing")]), (True, [("a", "done"), ("b", "undone")])]

    def test_undo_that_fails_is_gone_on_with(self):
        times = Times()
        undone: list[Any] = []

        def undo(result):
            undone.append(result)
            times.fail()

        def handler(operation):
            operation.step("a", lambda: 1, undo=undone.append)
            operation.step("b", lambda: 2, undo=undo)
            operation.step("c", lambda: 3, undo=undone.append)
            raise Abort("declined")

        failing(handler)
        assert run(handler) == Outcome(value="declined", replayed=True)
        assert undone == [3, 2, 2, 1]

    def test_handler_that_would_not_abort_again_is_undone_all_the_same(self):
        times = Times()
        reasons = Times()

        def undo(result):
            times.fail()
            effect("undone")

        def do():
            reasons.fail()
            effect("b")

        def handler(operation):
            operation.step("a", lambda: effect("a"), undo=undo)
            try:
                operation.step("b", do)
            except HandlerError as error:
                raise Abort("declined") from error
            return "answer"

        failing(handler)
        assert run(handler) == Outcome(value="declined", replayed=True)
        assert labels() == ["a", "undone"]

    def test_uncertain_undo_is_held(self):
        times = Times()
        refunds: list[Any] = []

        def refund(result, key):
            refunds.append(key)
            times.fail()

        def handler(operation):
            operation.call("charge", lambda key: 1, if_uncertain="hold", undo=refund)
            raise Abort("declined")

        failing(handler)
        with pytest.raises(OutcomeUncertain):
            run(handler)

        assert len(refunds) == 1
        assert IdempotentStep.objects.uncertain().get().name == "charge"

    def test_uncertain_undo_is_repeated_with_the_same_key(self):
        times = Times()
        refunds: list[Any] = []

        def refund(result, key):
            refunds.append(key)
            times.fail()

        def handler(operation):
            operation.call("charge", lambda key: 1, undo=refund)
            raise Abort("declined")

        failing(handler)
        run(handler)
        assert len(refunds) == 2
        assert len(set(refunds)) == 1

    def test_abort_before_the_first_step_is_an_answer(self):
        def handler(operation):
            raise Abort("declined")

        assert run(handler) == Outcome(value="declined", replayed=False)
        assert run(handler) == Outcome(value="declined", replayed=True)

    def test_undone_and_unstored_after_a_failure_is_told_to_come_again(self):
        times = Times()

        def handler(operation):
            operation.step("a", lambda: effect("a"), undo=lambda result: times.fail())
            raise Abort("")

        failing(handler)
        with pytest.raises(RequestInProgress, match="begins anew"):
            run(handler)
        assert run(handler).value == ""


class TestStepsChanged:
    """The first attempt has recorded `a` and `b`, and then failed."""

    @pytest.fixture(autouse=True)
    def recorded(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"))
            operation.step("b", lambda: effect("b"))
            raise HandlerError

        failing(handler)

    @pytest.mark.parametrize("names", ["ba", "ac", "xab", "c", "a", "", "acb"], ids=lambda names: names or "nothing")
    def test_other_steps_are_refused_before_they_run(self, names):
        def handler(operation):
            for name in names:
                operation.step(name, lambda: effect("other"))
            return "answer"

        with pytest.raises(StepsChanged):
            run(handler)

        assert labels() == ["a", "b"]
        assert run_of().note.startswith("StepsChanged: ")

    def test_call_in_the_place_of_a_step_is_refused(self):
        calls: list[Any] = []

        with pytest.raises(StepsChanged):
            run(lambda operation: operation.call("a", calls.append))

        assert calls == []

    def test_hidden_refusal_is_raised_again(self):
        def handler(operation):
            try:
                operation.step("x", lambda: effect("x"))
            except StepsChanged:
                operation.step("a", lambda: effect("a"))
                operation.step("b", lambda: effect("b"))
            return "answer"

        with pytest.raises(StepsChanged):
            run(handler)

        assert labels() == ["a", "b"]

    def test_abort_that_does_not_know_all_steps_is_refused(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"), undo=lambda result: effect("undone"))
            raise Abort("declined")

        with pytest.raises(StepsChanged):
            run(handler)

        assert labels() == ["a", "b"]

    def test_steps_may_be_added_behind(self):
        def handler(operation):
            for name in "abc":
                operation.step(name, lambda name=name: effect(name))
            return "answer"

        assert run(handler).value == "answer"
        assert labels() == ["a", "b", "c"]


class TestUnfinished:
    def test_nothing_recorded_is_forgotten(self):
        def handler(operation):
            raise HandlerError

        failing(handler)

        assert not IdempotencyKey.objects.exists()
        assert not IdempotentRun.objects.exists()

    def test_answer_that_is_not_stored_before_the_first_step_is_forgotten(self):
        assert run(lambda operation: "") == Outcome(value="", replayed=False)
        assert not IdempotencyKey.objects.exists()

    def test_answer_that_is_not_stored_leaves_the_rest_to_a_retry(self):
        answers = iter(["", "answer"])

        def handler(operation):
            operation.step("a", lambda: effect("a"))
            return next(answers)

        assert run(handler) == Outcome(value="", replayed=False)
        assert run(handler) == Outcome(value="answer", replayed=False)
        assert labels() == ["a"]

    def test_does_not_expire_and_is_not_purged(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 1
        times = Times()

        def handler(operation):
            operation.step("a", lambda: effect("a"))
            times.fail()
            return "answer"

        failing(handler)
        assert key_of().expires.year == 9999
        assert purge().rows == 0
        run(handler)
        assert key_of().expires < datetime(2100, 1, 1, tzinfo=UTC)
        assert labels() == ["a"]

    def test_expired_key_begins_anew(self):
        def handler(operation):
            operation.step("a", lambda: effect("a"))
            return "answer"

        run(handler)
        first = run_of()
        expire_keys()
        run(handler)

        assert labels() == ["a", "a"]
        assert run_of().pk != first.pk
        assert IdempotentStep.objects.count() == 1
