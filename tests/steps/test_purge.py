"""What becomes of an operation's steps when its key goes, and of an operation that a person lets expire."""

import pytest

from django_idempotency import changes, phases
from django_idempotency.exceptions import RequestInProgress
from django_idempotency.models import IdempotencyKey, IdempotentRun, IdempotentStep
from django_idempotency.purge import purge
from tests.operations import expire_keys, labels
from tests.steps.stepping import key_of, leave, run, run_of, taken

pytestmark = pytest.mark.django_db(transaction=True)


def handler(operation):
    operation.step("a", leave("a", "private"))
    operation.step("b", leave("b"))
    return "answer"


class TestPurge:
    def test_steps_go_with_their_key(self):
        run(handler, key="1")
        expire_keys()
        run(handler, key="2")

        assert purge().deleted == 1
        assert IdempotentRun.objects.get() == run_of("2")
        assert IdempotentStep.objects.count() == 2

    def test_results_go_with_the_response(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 3600
        run(handler, key="1")
        expire_keys()
        run(handler, key="2")

        assert purge().erased == 1
        assert set(run_of("1").steps.values_list("result", flat=True)) == {""}
        assert set(run_of("2").steps.values_list("result", flat=True)) == {'"private"', "null"}

    def test_unfinished_operation_stays(self):
        taken()

        assert purge().rows == 0
        assert run_of().attempt == 1


class TestErased:
    def test_takes_the_results(self):
        run(handler)

        with changes.erased([key_of().pk]):
            pass

        assert set(IdempotentStep.objects.values_list("result", flat=True)) == {""}


class TestForgotten:
    def test_worker_that_is_at_it_cannot_commit_any_more(self):
        lease = taken()

        with changes.forgotten([key_of().pk]) as keys:
            assert len(keys) == 1

        with pytest.raises(RequestInProgress), phases.phase(lease):
            leave("a")()
        assert labels() == []

    def test_unfinished_operation_begins_anew(self):
        def fail(operation):
            operation.step("a", leave("a"))
            raise ValueError("failed")

        with pytest.raises(ValueError, match="failed"):
            run(fail)
        with changes.forgotten([key_of().pk]):
            pass
        run(handler)

        assert labels() == ["a", "a", "b"]

    def test_is_purged_then(self):
        taken()
        with changes.forgotten([key_of().pk]):
            pass

        assert purge().deleted == 1
        assert not IdempotencyKey.objects.exists()
        assert not IdempotentRun.objects.exists()
