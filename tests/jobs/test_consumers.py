"""Messages, as brokers deliver them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from django_idempotency.consumers import once, process_once
from django_idempotency.exceptions import KeyInvalid, KeyMissing, KeyReused, RequestInProgress, UsageError
from django_idempotency.models import IdempotencyKey
from django_idempotency.signals import executed, refused, replayed
from tests.app.faults import doom_commit
from tests.app.models import Effect
from tests.gate import pass_gate
from tests.jobs.faults import give_up
from tests.threads import together

pytestmark = pytest.mark.django_db


class HandlerError(Exception):
    """What a handler raises."""


def by_function(consumer, message_id, handler, **options):
    """Process a message by `process_once`; tell whether its handler ran."""
    return not process_once(consumer, message_id, handler, **options).replayed


def by_block(consumer, message_id, handler, **options):
    """Process a message by `once`; tell whether its handler ran."""
    with once(consumer, message_id, **options) as message:
        if message.should_run:
            handler()
    return message.should_run


def leave_effect():
    return Effect.objects.create(label="a").pk


def fail():
    leave_effect()
    raise HandlerError


both = pytest.mark.parametrize("process", [by_function, by_block])


class TestBothForms:
    @both
    def test_duplicate_does_not_run(self, process):
        ran = [process("billing", "1", leave_effect) for _ in range(3)]

        assert ran == [True, False, False]
        assert Effect.objects.count() == 1

    @both
    def test_each_consumer_processes_the_message(self, process):
        ran = [process(consumer, "1", leave_effect) for consumer in ("billing", "mailing", "billing")]

        assert ran == [True, True, False]

    @both
    def test_each_message_is_processed(self, process):
        ran = [process("billing", message_id, leave_effect) for message_id in ("1", "2", "1 ", "A", "a")]

        assert ran == [True] * 5

    def test_forms_know_each_others_messages(self):
        assert by_function("billing", "1", leave_effect)
        assert not by_block("billing", "1", leave_effect)

    @both
    def test_exception_forgets_the_message(self, process):
        with pytest.raises(HandlerError):
            process("billing", "1", fail)

        assert not Effect.objects.exists()
        assert process("billing", "1", leave_effect)

    @both
    @pytest.mark.django_db(transaction=True)
    def test_failed_commit_raises_and_forgets_the_message(self, process):
        def handler():
            leave_effect()
            doom_commit()

        with pytest.raises(DatabaseError):
            process("billing", "1", handler)

        assert not Effect.objects.exists()
        assert process("billing", "1", leave_effect)

    @both
    @pytest.mark.django_db(transaction=True)
    def test_effects_are_committed_when_it_ends(self, process):
        process("billing", "1", leave_effect)

        # In a thread, so on a connection, of its own.
        assert together([Effect.objects.count, IdempotencyKey.objects.count]) == [1, 1]

    @both
    def test_message_within_itself_is_in_flight(self, process):
        def handler():
            with pytest.raises(RequestInProgress):
                process("billing", "1", leave_effect)

        assert process("billing", "1", handler)
        assert not Effect.objects.exists()

    @both
    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.django_db(transaction=True)
    def test_duplicate_in_flight_is_refused(self, process, gate):
        def handler():
            leave_effect()
            pass_gate(gate.path)

        def first():
            return process("billing", "1", handler)

        def second():
            gate.wait()
            try:
                with pytest.raises(RequestInProgress):
                    process("billing", "1", leave_effect)
            finally:
                gate.open()

        assert together([first, second])[0]
        assert not process("billing", "1", leave_effect)
        assert Effect.objects.count() == 1

    @both
    def test_other_body_with_the_same_id_is_refused(self, process):
        process("billing", "1", leave_effect, body=b"1 coffee")

        with pytest.raises(KeyReused):
            process("billing", "1", leave_effect, body=b"2 coffees")
        assert not process("billing", "1", leave_effect, body=b"1 coffee")

    @both
    @pytest.mark.parametrize("message_id", [None, ""])
    def test_missing_id_is_an_error_that_names_the_fix(self, process, message_id):
        with pytest.raises(KeyMissing, match=r"producer make one.*message_id.*Nats-Msg-Id"):
            process("billing", message_id, leave_effect)

        assert not Effect.objects.exists()

    @both
    @pytest.mark.parametrize("message_id", [7, b"7"])
    def test_delivery_tag_is_refused(self, process, message_id):
        with pytest.raises(UsageError, match="delivery tag"):
            process("billing", message_id, leave_effect)

        assert not Effect.objects.exists()

    @both
    @pytest.mark.parametrize("message_id", ["x" * 256, "a\nb", "\x00"])
    def test_id_that_cannot_be_kept_is_the_producers_fault(self, process, message_id):
        with pytest.raises(KeyInvalid, match="255 at most"):
            process("billing", message_id, leave_effect)

    @both
    def test_message_is_remembered_for_the_ttl(self, process):
        process("billing", "1", leave_effect, ttl=timedelta(days=7))

        key = IdempotencyKey.objects.get()
        assert (key.namespace, key.scope, key.key) == ("billing", "consumer", "1")
        assert timedelta(days=6) < key.expires - timezone.now() <= timedelta(days=7)

    @both
    def test_message_is_remembered_as_long_as_the_settings_say(self, process, settings):
        settings.IDEMPOTENCY_TTL = timedelta(days=3)
        process("billing", "1", leave_effect)

        assert timedelta(days=2) < IdempotencyKey.objects.get().expires - timezone.now() <= timedelta(days=3)

    @both
    def test_tombstone_does_not_run(self, process, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(hours=1)
        process("billing", "1", leave_effect)
        IdempotencyKey.objects.update(expires=timezone.now())

        assert not process("billing", "1", leave_effect)
        assert Effect.objects.count() == 1

    @both
    @pytest.mark.django_db(databases=["default", "other"])
    def test_id_is_in_the_database_that_is_named(self, process):
        process("billing", "1", lambda: Effect.objects.using("other").create(label="a"), using="other")

        assert IdempotencyKey.objects.using("other").exists()
        assert not IdempotencyKey.objects.exists()

    @both
    @pytest.mark.django_db(transaction=True)
    def test_outcomes_are_reported(self, process):
        outcomes = []

        def receive(signal, **kwargs):
            outcomes.append(signal)

        for signal in (executed, replayed, refused):
            signal.connect(receive)
        try:
            process("billing", "1", leave_effect)
            process("billing", "1", leave_effect)
            with pytest.raises(KeyReused):
                process("billing", "1", leave_effect, body=b"other")
        finally:
            for signal in (executed, replayed, refused):
                signal.disconnect(receive)

        assert outcomes == [executed, replayed, refused]


class TestProcessOnce:
    def test_returns_what_the_handler_returns_the_first_time(self):
        first = process_once("billing", "1", leave_effect)
        second = process_once("billing", "1", leave_effect)

        assert first.value == Effect.objects.get().pk
        assert second.value is None

    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.django_db(transaction=True)
    def test_duplicate_waits_for_the_first_one(self, gate):
        def open_behind(execute, sql, params, many, context):
            try:
                return execute(sql, params, many, context)
            finally:
                if "INSERT" in sql:
                    gate.open()

        def handler():
            leave_effect()
            pass_gate(gate.path)

        def first():
            return process_once("billing", "1", handler)

        def second():
            gate.wait()
            with connection.execute_wrapper(open_behind):
                return process_once("billing", "1", leave_effect, wait=20)

        outcomes = together([first, second])

        assert [outcome.replayed for outcome in outcomes] == [False, True]
        assert Effect.objects.count() == 1

    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.django_db(transaction=True)
    def test_runs_again_when_the_database_gives_up(self):
        attempts = iter([give_up, lambda: None])

        def handler():
            leave_effect()
            next(attempts)()

        outcome = process_once("billing", "1", handler, reruns=1)

        assert not outcome.replayed
        assert Effect.objects.count() == 1
