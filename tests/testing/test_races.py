"""race lets several clients in at once, and counts."""

import pytest
from django.db import connections, transaction
from django.http import JsonResponse

from django_idempotency.decorators import idempotent
from django_idempotency.exceptions import UsageError
from django_idempotency.testing import NotExactlyOnce, race
from tests import doors
from tests.app.models import Effect
from tests.server import Server
from tests.testing import mistakes, stores
from tests.testing.requests import sending

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def identify(value):
    return value.__name__


def plain(request):
    Effect.objects.create(label="sold")
    return mistakes.done()


class TestRightViews:
    @pytest.mark.parametrize("door", [doors.function, doors.coroutine, doors.mixin], ids=identify)
    @pytest.mark.parametrize("options", [{}, {"wait": 10.0}], ids=["refusing", "waiting"])
    def test_pass(self, door, options):
        result = race(sending(door(plain, **options)), 6, effects=Effect.objects.all())

        assert len(result.answers) == 12
        assert any(answer.status == 201 for answer in result.answers)
        assert result.refused == 0 or not options
        assert str(result).startswith("exactly once: 12 requests in 2 races")

    def test_store_that_is_right_passes(self):
        race(sending(stores.remembers_with_the_effects), 4, effects=stores.charges)

    def test_pass_on_a_server(self, server: Server):
        def send(key):
            return server.post("/keyed/", key=key, script=[["effect", "a"]])

        race(send, 8, effects=Effect.objects.all())


class TestWrongStores:
    @pytest.mark.parametrize("view", stores.RACY, ids=identify)
    def test_is_caught(self, view):
        with pytest.raises(NotExactlyOnce):
            race(sending(view), 4, effects=stores.charges, patience=0.1)

    def test_unguarded_view_is_caught_with_what_was_counted(self):
        with pytest.raises(NotExactlyOnce, match=r"Effect rows: \d instead of 1"):
            race(sending(mistakes.unguarded), 4, effects=Effect.objects.all())

    def test_error_is_caught(self):
        failed: list[str] = []

        @idempotent
        def view(request):
            Effect.objects.create(label="sold")
            if Effect.objects.count() and not failed:
                return mistakes.done()
            return JsonResponse({}, status=500)

        def send(key):
            response = sending(view)(key)
            failed.append(key)
            return response

        with pytest.raises(NotExactlyOnce, match="was answered 500"):
            race(send, 2, effects=Effect.objects.all())

    def test_client_without_an_answer_is_caught(self):
        sent: list[str] = []

        def send(key):
            if sent:
                raise ConnectionError("reset")
            sent.append(key)
            return sending(doors.function(plain))(key)

        with pytest.raises(NotExactlyOnce, match="ConnectionError: reset"):
            race(send, 2, effects=Effect.objects.all())

    def test_key_that_stays_in_progress_is_caught(self):
        sent: list[str] = []

        def send(key):
            response = sending(doors.function(plain))(key)
            sent.append(key)
            return JsonResponse({}, status=409) if len(sent) > 1 else response

        with pytest.raises(NotExactlyOnce, match="After the race, the request was answered 409"):
            race(send, 2, effects=Effect.objects.all(), patience=0.1)


class TestUsage:
    def test_one_client_is_refused(self):
        with pytest.raises(UsageError, match="at least 2 clients"):
            race(sending(doors.function(plain)), 1, effects=Effect.objects.all())

    def test_inside_of_a_transaction_is_refused(self):
        with transaction.atomic(), pytest.raises(UsageError, match="TransactionTestCase"):
            race(sending(doors.function(plain)), effects=Effect.objects.all())

    @pytest.mark.engine("sqlite")
    def test_sqlite_in_memory_is_refused(self, monkeypatch):
        monkeypatch.setitem(connections["default"].settings_dict, "NAME", ":memory:")

        with pytest.raises(UsageError, match="Put the test database into a file"):
            race(sending(doors.function(plain)), effects=Effect.objects.all())
