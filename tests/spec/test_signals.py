"""What those who watch are told: signals and the log. Nothing that they do breaks a request."""

import json
import logging
import time
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, transaction
from django.db.transaction import atomic
from django.test import AsyncClient, Client

from django_idempotency import signals
from django_idempotency.execution import execute
from django_idempotency.models import IdempotencyKey
from django_idempotency.purge import purge
from tests.app.faults import doom_commit
from tests.app.views import effect
from tests.operations import CODEC, expire_keys, labels, operation
from tests.spec.urls import DOORS

LARGE = [["respond", "a" * 101]]


def post(path: str, *, key: str | None = "secret-key", script: Any = (), data: Any = None, **options: Any) -> Any:
    """Send a request, to the coroutine as an ASGI server does."""
    headers = {"X-Script": json.dumps(script)} | ({} if key is None else {"Idempotency-Key": key})
    client: Any = AsyncClient() if path == "/async/" else Client()
    send = async_to_sync(client.post) if path == "/async/" else client.post
    return send(path, data={"secret": "content"} if data is None else data, headers=headers, **options)


@pytest.mark.urls("tests.spec.urls")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("door", DOORS)
class TestDoors:
    """Every door tells the same, once."""

    def test_first_request_is_executed(self, door, events):
        started = time.perf_counter()
        post(door, script=[["effect", "a"]])
        elapsed = time.perf_counter() - started

        (event,) = events
        assert event["name"] == "executed"
        assert event["operation"].path == door
        assert 0 < event["seconds"] <= elapsed
        assert not event["in_transaction"]

    def test_retry_is_replayed(self, door, events):
        post(door)
        post(door)

        assert events.names == ["executed", "replayed"]
        assert events[0]["operation"].digest == events[1]["operation"].digest == IdempotencyKey.objects.get().pk

    def test_key_is_missing(self, door, events):
        post(door, key=None)

        (event,) = events
        assert event["name"] == "refused"
        assert event["operation"] is None
        assert event["error"].code == "idempotency_key_missing"

    def test_key_is_invalid(self, door, events):
        post(door, key="a b")

        (event,) = events
        assert event["name"] == "refused"
        assert event["operation"] is None
        assert event["error"].code == "idempotency_key_invalid"

    def test_key_is_reused(self, door, events):
        post(door)
        post(door, data={"other": "content"})

        assert events.names == ["executed", "refused"]
        assert events[1]["operation"].path == door
        assert events[1]["error"].code == "idempotency_key_reused"

    def test_response_was_not_stored(self, door, events):
        post(door, script=LARGE)
        post(door, script=LARGE)

        assert events.names == ["executed", "refused"]
        assert events[1]["error"].code == "idempotency_response_not_stored"

    def test_response_has_expired(self, door, events, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(days=1)
        post(door)
        expire_keys()
        post(door)

        assert events.names == ["executed", "refused"]
        assert events[1]["error"].code == "idempotency_response_expired"

    def test_key_has_expired(self, door, events):
        post(door)
        expire_keys()
        post(door)

        assert events.names == ["executed", "expired", "executed"]
        assert not events[1]["in_transaction"]
        assert events[1]["operation"].digest == events[0]["operation"].digest

    def test_what_is_forgotten_is_not_told(self, door, events):
        post(door, script=[["effect", "a"], ["respond", "", {"status": 503}]])

        assert events == []


def run(label: str = "a", **options: Any) -> None:
    def handler() -> str:
        effect(label)
        return label

    execute(operation(**options), handler, codec=CODEC)


@pytest.mark.django_db(transaction=True)
class TestExecuted:
    def test_waits_for_the_outer_commit(self, events):
        with atomic():
            run()

            assert events == []

        assert events.names == ["executed"]

    def test_outer_rollback_silences(self, events):
        with atomic():
            run()
            transaction.set_rollback(True)

        assert events == []

    @pytest.mark.engine("sqlite", "postgresql")
    def test_failed_commit_silences(self, events):
        def handler() -> str:
            doom_commit()
            return "a"

        with pytest.raises(DatabaseError):
            execute(operation(), handler, codec=CODEC)

        assert events == []

    def test_failed_rerun_of_expired_key_silences(self, events):
        run()
        expire_keys()
        del events[:]

        execute(operation(), lambda: "", codec=CODEC)

        assert events == []


@pytest.mark.django_db(transaction=True)
class TestRefused:
    def test_request_in_progress(self, events):
        def handler() -> str:
            with pytest.raises(Exception, match="still being processed"):
                run("inner")
            return "a"

        execute(operation(), handler, codec=CODEC)

        assert events.names == ["refused", "executed"]
        assert events[0]["error"].code == "idempotency_request_in_progress"


@pytest.mark.django_db(transaction=True)
class TestPurged:
    def test_tells_how_many_once_they_are_gone(self, events, caplog):
        caplog.set_level(logging.INFO, "django_idempotency")
        run(key="a")
        run(key="b")
        expire_keys()
        run(key="c")
        del events[:]
        caplog.clear()

        purge()

        (event,) = events
        assert event["name"] == "purged"
        assert event["count"] == 2
        assert event["operation"] is None
        assert not event["in_transaction"]
        assert [record.idempotency for record in caplog.records] == [{"event": "purged", "count": 2}]

    def test_nothing_to_purge_is_not_told(self, events):
        run()
        del events[:]

        purge()

        assert events == []


@pytest.mark.django_db(transaction=True)
class TestEvent:
    @pytest.fixture
    def failing(self):
        """Connect a receiver that raises to each signal."""

        def fail(**kwargs: Any) -> None:
            raise RuntimeError("the receiver's")

        every = (signals.executed, signals.replayed, signals.refused, signals.expired, signals.purged)
        for signal in every:
            signal.connect(fail)
        yield fail
        for signal in every:
            signal.disconnect(fail)

    def test_failing_receiver_is_logged_and_others_are_called(self, failing, events, caplog):
        run()
        run()

        assert events.names == ["executed", "replayed"]
        assert labels() == ["a"]
        assert [record.name for record in caplog.records if record.exc_info] == ["django.dispatch"] * 2

    def test_failing_receiver_does_not_stop_the_purge(self, failing):
        run()
        expire_keys()

        purge()

        assert not IdempotencyKey.objects.exists()

    def test_receiver_may_be_a_coroutine(self):
        received = []

        async def receive(operation: Any, **kwargs: Any) -> None:
            received.append(operation)

        signals.executed.connect(receive)
        try:
            run()
        finally:
            signals.executed.disconnect(receive)

        assert received == [operation()]


@pytest.mark.urls("tests.spec.urls")
@pytest.mark.django_db(transaction=True)
class TestLog:
    @pytest.fixture
    def log(self, caplog):
        """Return the records of the package's logger."""
        caplog.set_level(logging.INFO, "django_idempotency")

        def records() -> list[Any]:
            return [record for record in caplog.records if record.name == "django_idempotency"]

        return records

    @pytest.mark.parametrize("door", DOORS)
    def test_structure(self, door, log):
        post(door)
        post(door)
        post(door, data={"other": "content"})
        post(door, key=None)

        facts = {
            "namespace": "http",
            "digest": str(IdempotencyKey.objects.get().pk),
            "method": "POST",
            "path": door,
        }
        executed, *others = [record.idempotency for record in log()]
        assert executed.pop("seconds") > 0
        assert executed == {"event": "executed", **facts}
        assert others == [
            {"event": "replayed", **facts},
            {"event": "refused", **facts, "error": "idempotency_key_reused"},
            {"event": "refused", "error": "idempotency_key_missing"},
        ]

    def test_message(self, log):
        post("/plain/")
        post("/plain/", data={"other": "content"})

        digest = IdempotencyKey.objects.get().pk
        assert log()[1].getMessage() == (
            f"event=refused namespace=http digest={digest} method=POST path=/plain/ error=idempotency_key_reused"
        )

    def test_refusals_are_warnings(self, log):
        post("/plain/")
        post("/plain/")
        post("/plain/", key=None)

        assert [record.levelname for record in log()] == ["INFO", "INFO", "WARNING"]

    @pytest.mark.parametrize("door", DOORS)
    def test_neither_key_nor_body(self, door, log):
        post(door, script=[["respond", "secret answer"]])
        post(door, script=[["respond", "secret answer"]])
        post(door, data={"other": "secret"})
        post(door, key="secret key")

        told = [repr(vars(record)) + record.getMessage() for record in log()]
        assert len(told) == 4
        assert not any("secret" in text for text in told)

    def test_level_that_is_off_logs_nothing(self, log, caplog):
        caplog.set_level(logging.ERROR, "django_idempotency")
        post("/plain/")

        assert log() == []
