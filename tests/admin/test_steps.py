"""What the admin shows of operations of several steps, and what people may say of uncertain calls."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages

from django_idempotency import changes, leases, phases
from django_idempotency.exceptions import OutcomeUncertain, RequestInProgress
from django_idempotency.models import IdempotentRun, IdempotentStep
from django_idempotency.steps import Abort
from tests.admin.conftest import LIST
from tests.app.views import effect
from tests.operations import labels
from tests.steps.stepping import key_of, leave, run, run_of, run_out_leases, steps_of, taken

pytestmark = pytest.mark.django_db(transaction=True)

MAY_SETTLE = ("view_idempotencykey", "settle_outcome")


def break_off(key):
    effect("called")
    raise ValueError("broken off")


def charge(operation):
    """Call another system once, and hold that."""
    operation.step("order", leave("order"))
    return operation.call("charge", break_off, if_uncertain="hold")


def refund(operation):
    """Call another system to undo something, and hold that."""
    operation.call("charge", lambda key: 1, undo=lambda result, key: break_off(key), if_uncertain="hold")
    raise Abort("declined")


def break_operation(handler=charge, key="key"):
    """Leave an operation with an uncertain call; return its step."""
    with pytest.raises(ValueError, match="broken off"):
        run(handler, key=key)
    return IdempotentStep.objects.uncertain().get(run=run_of(key))


def url_of(step: Any, key: str = "key") -> str:
    return f"{LIST}{key_of(key).pk}/settle/{step.pk}/"


def page(client: Any, key: str = "key") -> str:
    return str(client.get(f"{LIST}{key_of(key).pk}/change/").content.decode())


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


class TestKeyPage:
    def test_shows_the_steps(self, root):
        break_operation()

        text = page(root)

        for part in (
            "Permitted; it may have happened",
            ">order<",
            ">charge<",
            "Attempt 1.",
            "ValueError",
            "Nobody is at",
        ):
            assert part in text
        assert "9999" not in text

    def test_time_line_has_the_steps(self, root):
        break_operation()

        events = root.get(f"{LIST}{key_of().pk}/change/").context["idempotency"]["timeline"]

        assert [(event.what, event.note) for event in events] == [
            ("Claimed", ""),
            ("order: Done", "attempt 1"),
            ("charge: Permitted; it may have happened", "attempt 1"),
        ]

    def test_results_are_for_those_who_may_see_responses(self, operator):
        run(lambda operation: operation.step("a", leave("a", "private")))

        assert "private" not in page(operator("view_idempotencykey"))
        assert "private" in page(operator("view_idempotencykey", "view_response"))

    def test_settling_is_offered_to_those_who_may(self, operator):
        break_operation()

        assert "/settle/" not in page(operator("view_idempotencykey"))
        assert "/settle/" in page(operator(*MAY_SETTLE))

    def test_settling_is_not_offered_while_somebody_is_at_it(self, root):
        break_operation()
        IdempotentRun.objects.update(lease_until="2100-06-15T12:00:00Z")

        text = page(root)

        assert "/settle/" not in text
        assert "Held until 2100-06-15" in text

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ("in progress", "The request runs"),
            ("unfinished", "A retry goes on from the steps"),
            ("uncertain", "may have happened. If it is held"),
            ("failed", "It was taken up too often"),
        ],
    )
    def test_says_what_a_retry_meets(self, root, state, words):
        if state == "uncertain":
            break_operation()
        else:
            taken()
        if state != "in progress":
            run_out_leases()
        if state == "failed":
            IdempotentRun.objects.update(state="failed")

        assert words in page(root)


class TestList:
    def test_filters_what_is_uncertain_and_unfinished(self, root):
        break_operation(key="uncertain")
        taken("held")
        run(lambda operation: "answer", key="done")

        def listed(state):
            return {key.key for key in root.get(f"{LIST}?state={state}").context["cl"].result_list}

        assert listed("uncertain") == {"uncertain"}
        assert listed("unfinished") == {"uncertain", "held"}
        assert listed("completed") == {"done"}

    def test_names_the_state(self, root):
        break_operation()

        assert "idempotency-state-uncertain" in root.get(LIST).content.decode()


class TestSettle:
    def test_call_that_has_happened_is_not_made_again(self, operator):
        step = break_operation()

        response = operator(*MAY_SETTLE).post(url_of(step), {"outcome": "yes", "result": '"charged"'})

        assert response.status_code == 302
        assert told(response) == ["It is recorded. The operation goes on when its request comes again."]
        assert run(charge).value == "charged"
        assert labels() == ["order", "called"]

    def test_call_that_has_not_happened_is_made(self, operator):
        step = break_operation()

        operator(*MAY_SETTLE).post(url_of(step), {"outcome": "no"})

        assert steps_of() == [("order", "done")]
        assert run(lambda operation: [charge_again(operation)][0]).value == "charged"
        assert labels() == ["order", "called"]

    def test_undo_that_has_happened_is_not_made_again(self, operator):
        step = break_operation(refund)

        operator(*MAY_SETTLE).post(url_of(step), {"outcome": "yes"})

        assert run(refund).value == "declined"
        assert labels() == ["called"]

    def test_undo_that_has_not_happened_is_made(self, operator):
        step = break_operation(refund)

        operator(*MAY_SETTLE).post(url_of(step), {"outcome": "no"})

        with pytest.raises(ValueError, match="broken off"):
            run(refund)
        assert labels() == ["called", "called"]

    @pytest.mark.parametrize(
        ("handler", "outcome", "entry"),
        [
            (charge, "yes", "Settled: “charge” has happened."),
            (charge, "no", "Settled: “charge” has not happened."),
            (refund, "yes", "Settled: the undo of “charge” has happened."),
            (refund, "no", "Settled: the undo of “charge” has not happened."),
        ],
    )
    def test_is_logged(self, root, handler, outcome, entry):
        step = break_operation(handler)

        root.post(url_of(step), {"outcome": outcome, "result": "1"})

        logged = LogEntry.objects.get()
        assert logged.get_change_message() == entry
        assert logged.object_id == str(key_of().pk)
        assert entry in page(root).replace("&quot;", '"')

    def test_asks_first(self, root):
        step = break_operation()

        text = root.get(url_of(step)).content.decode()

        assert "Has it happened?" in text
        assert "it takes effect twice" in text

    @pytest.mark.parametrize(
        "fields", [{}, {"outcome": "yes"}, {"outcome": "yes", "result": "{"}, {"outcome": "x"}], ids=str
    )
    def test_asks_again_for_what_is_missing(self, root, fields):
        step = break_operation()

        assert root.post(url_of(step), fields).status_code == 200
        with pytest.raises(OutcomeUncertain):
            run(charge)

    @pytest.mark.parametrize("permissions", [("view_idempotencykey",), ("settle_outcome",)], ids=str)
    def test_is_refused_without_the_permissions(self, operator, permissions):
        step = break_operation()

        assert operator(*permissions).post(url_of(step), {"outcome": "no"}).status_code == 403
        assert steps_of()[1] == ("charge", "permitted")

    def test_what_is_not_uncertain_has_no_page(self, root):
        run(lambda operation: operation.step("a", leave("a", "answer")))

        assert root.get(url_of(IdempotentStep.objects.get())).status_code == 404

    def test_step_of_another_key_has_no_page(self, root):
        step = break_operation()
        break_operation(key="other")

        assert root.get(url_of(step, "other")).status_code == 404

    def test_what_somebody_is_at_is_left_alone(self, root):
        step = break_operation()
        IdempotentRun.objects.update(lease_until="2100-06-15T12:00:00Z")

        response = root.post(url_of(step), {"outcome": "no"})

        assert told(response) == ["Nothing was recorded: somebody is at the operation, or has settled it."]
        assert steps_of()[1] == ("charge", "permitted")
        assert not LogEntry.objects.exists()

    def test_worker_that_was_paused_in_the_call_cannot_record_it(self):
        lease = taken()
        record = leases.StepRecord(position=0, name="charge", kind="call", state="permitted", started=key_of().created)
        with phases.phase(lease):
            phases.add(lease, record)
        run_out_leases()

        with changes.settled(IdempotentStep.objects.get().pk, happened=True, result="1") as settled:
            assert settled is not None

        with pytest.raises(RequestInProgress), phases.phase(lease):
            phases.change(lease, record)
        assert steps_of() == [("charge", "done")]


def charge_again(operation):
    operation.step("order", leave("order"))
    return operation.call("charge", lambda key: "charged", if_uncertain="hold")
