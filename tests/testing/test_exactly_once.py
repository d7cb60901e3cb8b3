"""assert_exactly_once passes views that are right, catches those that are not, and says why."""

import re
import sys
from collections import Counter
from functools import partial
from threading import Thread
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models.signals import post_save
from django.http import JsonResponse
from django.test import RequestFactory, TestCase, TransactionTestCase

from django_idempotency.decorators import idempotent
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey
from django_idempotency.testing import ExactlyOnce, NotExactlyOnce, assert_exactly_once
from tests import doors
from tests.app.models import Account, Effect
from tests.factories import AccountFactory, UserFactory
from tests.gate import TIMEOUT
from tests.testing import mistakes, stores
from tests.testing.requests import sending

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")
WITH_LINES = sys.version_info >= (3, 12)


def identify(value):
    return value.__name__


@pytest.fixture
def atomic_requests(settings):
    for alias in connections:
        connections[alias].settings_dict["ATOMIC_REQUESTS"] = True
    yield
    for alias in connections:
        connections[alias].settings_dict["ATOMIC_REQUESTS"] = False


def balances():
    return list(Account.objects.order_by("pk").values_list("balance", flat=True))


class TestRightViews:
    @pytest.mark.parametrize("door", [doors.function, doors.coroutine, doors.below_api_view, doors.mixin], ids=identify)
    def test_pass(self, door):
        AccountFactory.create()
        view = door(mistakes.right)

        result = assert_exactly_once(sending(view), effects=[Effect.objects.all(), balances])

        assert result.statements >= 6
        assert (result.lines is not None) == WITH_LINES
        assert balances() == [1000]

    @pytest.mark.parametrize("door", [doors.function, doors.mixin], ids=identify)
    def test_pass_in_atomic_requests(self, door, atomic_requests):
        AccountFactory.create()
        depths = set()

        def handler(request):
            depths.add(len(connection.savepoint_ids))
            return mistakes.right(request)

        assert_exactly_once(
            sending(door(handler)), effects=[Effect.objects.all(), Account.objects.values_list("balance")], lines=False
        )

        assert depths == {1}  # The claim is a savepoint of the request's transaction.

    @pytest.mark.engine("postgresql")
    @pytest.mark.long  # Each retry waits for the lease of the dead, which is a second at least.
    def test_pass_in_steps(self):
        network: dict[str, str] = {}

        @idempotent(steps=True, lease=1)
        def view(request, *, operation):
            operation.call("charge", lambda key: network.setdefault(key, "charged"))
            return JsonResponse({"done": True}, status=201)

        result = assert_exactly_once(sending(view), effects={"calls": network}, lines=False, patience=TIMEOUT)

        assert result.statements > 4

    def test_pass_for_a_user(self):
        AccountFactory.create()
        user = UserFactory.create()
        view = doors.function(mistakes.right)

        assert_exactly_once(sending(view, user=user), effects=Effect.objects.all(), lines=False)

    @pytest.mark.engine("sqlite")
    def test_effect_that_is_read_from_memory_at_first_may_ask_the_database_later(self):
        asked: list[int] = []

        def charges():
            asked.append(1)
            return Effect.objects.count() if len(asked) > 1 else 0

        AccountFactory.create()
        assert_exactly_once(sending(doors.function(mistakes.right)), effects=charges, lines=False)

        assert len(asked) > 1


class TestMistakes:
    @pytest.mark.parametrize("view", mistakes.MISTAKES, ids=identify)
    def test_is_caught_and_named(self, view):
        effects = {name: effect() for name, effect in mistakes.EFFECTS.items()}

        with pytest.raises(NotExactlyOnce) as caught:
            assert_exactly_once(sending(view), effects=effects, patience=0.1)

        assert mistakes.MISTAKES[view] in str(caught.value)

    @pytest.mark.parametrize("view", stores.DEADLY, ids=identify)
    def test_store_is_caught(self, view):
        with pytest.raises(NotExactlyOnce) as caught:
            assert_exactly_once(sending(view), effects=[stores.charges], patience=0.1)

        assert stores.DEADLY[view] in str(caught.value)

    def test_store_that_is_right_passes(self):
        assert_exactly_once(sending(stores.remembers_with_the_effects), effects=[stores.charges], lines=False)

    def test_message_has_statement_place_and_what_was_left(self):
        with pytest.raises(NotExactlyOnce) as caught:
            assert_exactly_once(
                sending(mistakes.writes_on_another_alias), effects={"there": Effect.objects.using("other")}
            )

        where, left, *_ = str(caught.value).splitlines()
        assert where.startswith("The worker died just after statement ")
        assert "INSERT INTO" in where
        assert "tests/testing/mistakes.py:" in where
        assert left == "Left behind before the retry: there: 1."
        assert "there: 2 instead of 1" in str(caught.value)

    def test_effects_in_memory_are_told_apart(self):
        mails: list[str] = []
        pushes: list[str] = []

        @idempotent
        def view(request):
            mails.append("receipt")
            Effect.objects.create(label="charged")
            pushes.append("receipt")
            return mistakes.done()

        with pytest.raises(NotExactlyOnce) as caught:
            assert_exactly_once(sending(view), effects={"mails": mails, "pushes": pushes}, lines=False)

        assert "mails changed after statement" in str(caught.value)
        assert "pushes changed after statement" not in str(caught.value)

    @pytest.mark.engine("postgresql")
    def test_thread_that_changes_memory_is_named(self):
        mails: list[str] = []

        def mail():
            try:
                mails.append("receipt")
                Effect.objects.count()
            finally:
                connection.close()

        @idempotent
        def view(request):
            thread = Thread(target=mail, name="mailer")
            thread.start()
            thread.join()
            Effect.objects.create(label="charged")
            return mistakes.done()

        with pytest.raises(NotExactlyOnce, match="mails changed in the thread 'mailer'"):
            assert_exactly_once(sending(view), effects={"mails": mails}, lines=False)

    def test_line_is_named_where_no_statement_shows_the_mistake(self):
        held: list[int] = []

        @idempotent
        def view(request):
            Effect.objects.create(label="charged")
            held.append(1)
            held.pop()
            return mistakes.done()

        def run():
            return assert_exactly_once(sending(view), effects={"charges": Effect.objects.all(), "held": held})

        if not WITH_LINES:
            assert str(run()).endswith("lines were not tried: they need Python 3.12 (sys.monitoring)")
            return
        with pytest.raises(NotExactlyOnce) as caught:
            run()
        where, left, *_ = str(caught.value).splitlines()
        assert re.fullmatch(r"The worker died at tests/testing/test_exactly_once\.py:\d+: held\.pop\(\)", where)
        assert left == "Left behind before the retry: held: 1."


class Replaying:
    """A view that takes effect once, and then answers by what it is asked for how often."""

    def __init__(self, *later: str):
        self.later = later
        self.sent: Counter[str] = Counter()

    def __call__(self, request):
        key = request.headers["Idempotency-Key"]
        known = Effect.objects.filter(label=key).exists()
        if not known:
            Effect.objects.create(label=key)
        self.sent[key] += 1
        later = self.later[self.sent[key] - 1] if len(self.sent) > 2 and self.sent[key] <= len(self.later) else "same"
        if later == "raise":
            raise LookupError("no answer")
        if later == "again":
            Effect.objects.create(label="again")
        return JsonResponse({"answer": "other" if later == "other" else "same"}, status=201)


class TestRetries:
    """The runs before the first death are as they should be; what comes later is not."""

    @pytest.mark.parametrize(
        ("later", "message"),
        [
            (("other", "same"), "The second retry was not answered as the first one was: another body"),
            (("same", "again"), "The second retry took effect"),
        ],
    )
    def test_second_that_differs_is_caught(self, later, message):
        with pytest.raises(NotExactlyOnce, match=message):
            assert_exactly_once(sending(Replaying(*later)), effects=Effect.objects.all())

    def test_answer_that_was_given_and_not_kept_is_caught(self):
        @idempotent
        def view(request):
            Effect.objects.create(label="charged")
            return mistakes.done()

        def hasty(request):
            try:
                with transaction.atomic():
                    Account.objects.exists()
            except OperationalError:
                return mistakes.done()
            return view(request)

        with pytest.raises(NotExactlyOnce, match="The retry was not answered as the request before it was"):
            assert_exactly_once(sending(hasty), effects=Effect.objects.all())

    def test_one_that_raises_is_caught(self):
        view = Replaying("raise")

        with pytest.raises(NotExactlyOnce, match=r"(?s)The worker died .*The retry raised LookupError: no answer"):
            assert_exactly_once(lambda key: view(keyed_request(key)), effects=Effect.objects.all())

    def test_interruption_ends_the_test(self):
        def send(key):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            assert_exactly_once(send, effects=Effect.objects.all())


def keyed_request(key):
    return RequestFactory().post("/", headers={"Idempotency-Key": key})


class TestArguments:
    def test_fresh_is_called_before_each_run(self):
        stock = [3]
        calls = []

        def refill():
            calls.append(1)
            stock[0] = 3

        @idempotent
        def view(request):
            assert stock[0] == 3
            Effect.objects.create(label="sold")
            return mistakes.done()

        result = assert_exactly_once(sending(view), effects=Effect.objects.all(), fresh=refill, lines=False)

        assert len(calls) == 2 + result.runs

    def test_effects_may_be_counters_and_callables(self):
        counts: Counter[str] = Counter()

        @idempotent
        def view(request):
            Effect.objects.create(label="sold")
            counts["sold"] += 1
            return mistakes.done()

        with pytest.raises(NotExactlyOnce, match=r"counts: \{'sold': 2\} instead of \{'sold': 1\}"):
            assert_exactly_once(sending(view), effects={"counts": counts, "rows": Effect.objects.count})

    def test_lines_can_be_left_out(self):
        result = assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all(), lines=False)

        assert result.lines is None
        assert str(result).endswith("lines were not tried: lines=False")

    def test_lines_are_left_out_where_others_watch_them(self):
        monitoring: Any = getattr(sys, "monitoring", None)
        tools = (3, 4) if monitoring else ()
        for tool in tools:
            monitoring.use_tool_id(tool, "others")
        try:
            result = assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all())
        finally:
            for tool in tools:
                monitoring.free_tool_id(tool)

        reason = "no tool id of sys.monitoring is free" if tools else "they need Python 3.12 (sys.monitoring)"
        assert str(result).endswith(f"lines were not tried: {reason}")

    def test_result_says_what_was_tried(self):
        result = ExactlyOnce(statements=5, lines=7)

        assert result.runs == 22
        assert str(result).startswith(
            "exactly once: a death before, a death after and a failure of each of 5 statements"
        )
        assert str(result).endswith("; a death at each of 7 lines")


def plain(request):
    Effect.objects.create(label="sold")
    return mistakes.done()


class TestFreshState:
    def test_is_put_back_as_it_was(self):
        changed, untouched = AccountFactory.create(balance=100), AccountFactory.create(balance=5)
        Effect.objects.create(label="before")

        @idempotent
        def view(request):
            Account.objects.filter(pk=changed.pk).update(balance=0)
            Effect.objects.all().delete()
            AccountFactory.create(balance=1)
            return mistakes.done()

        assert_exactly_once(sending(view), effects=[balances, Effect.objects.all()], lines=False)

        accounts = Account.objects.order_by("pk").values_list("pk", "balance")
        assert list(accounts) == [(changed.pk, 100), (untouched.pk, 5)]
        assert [effect.label for effect in Effect.objects.all()] == ["before"]
        assert not IdempotencyKey.objects.exists()

    def test_alias_may_be_without_the_table_of_a_model(self):
        table = Effect._meta.db_table
        with connections["other"].schema_editor() as editor:
            editor.alter_db_table(Effect, table, "away")
        try:
            assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all(), lines=False)
        finally:
            with connections["other"].schema_editor() as editor:
                editor.alter_db_table(Effect, "away", table)

    def test_rows_are_put_back_as_fixtures_are(self):
        saved = []
        AccountFactory.create()

        @idempotent
        def view(request):
            Account.objects.update(balance=0)
            return mistakes.done()

        def receive(raw, **kwargs):
            saved.append(raw)

        post_save.connect(receive, sender=Account)
        try:
            assert_exactly_once(sending(view), effects=balances, lines=False)
        finally:
            post_save.disconnect(receive, sender=Account)

        assert saved
        assert all(saved)


class TestDeath:
    def test_no_code_of_the_dead_reaches_the_database(self):
        @idempotent
        def view(request):
            try:
                Effect.objects.create(label="charged")
            except BaseException:
                Effect.objects.create(label="zombie")
                raise
            return mistakes.done()

        assert_exactly_once(
            sending(view), effects=[Effect.objects.filter(label="charged"), Effect.objects.filter(label="zombie")]
        )

    def test_sessions_are_really_lost(self):
        sessions = set()

        @idempotent
        def view(request):
            sessions.add(session_number())
            Effect.objects.create(label="charged")
            return mistakes.done()

        result = assert_exactly_once(sending(view), effects=Effect.objects.all(), lines=False)

        # Each statement is died at twice, and a session that was lost is not used again.
        assert len(sessions) >= result.statements

    def test_errors_that_are_meant_to_happen_are_not_logged(self, caplog):
        assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all(), lines=False)

        assert [record for record in caplog.records if record.name == "django.request"] == []

    def test_connections_are_usable_afterwards(self):
        assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all())

        with transaction.atomic():
            Effect.objects.create(label="later")
        assert Effect.objects.count() == 1


def session_number():
    if connection.vendor == "sqlite":
        return connection.connection  # Kept, so that no other one can be taken for it.
    sql = "SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT CONNECTION_ID()"
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


class TestUsage:
    @pytest.mark.django_db(databases="__all__")
    def test_inside_of_a_transaction_is_refused(self):
        with transaction.atomic(), pytest.raises(UsageError, match="TransactionTestCase"):
            assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all())

    def test_request_without_effects_is_refused(self):
        def view(request):
            return JsonResponse({}, status=403)

        with pytest.raises(UsageError, match=r"answered 403 .* had none of the effects"):
            assert_exactly_once(sending(view), effects=Effect.objects.all())

    def test_request_without_statements_is_refused(self):
        calls: list[int] = []

        def view(request):
            calls.append(1)
            return JsonResponse({})

        with pytest.raises(UsageError, match="ran no SQL statement in this process"):
            assert_exactly_once(sending(view), effects={"calls": calls})

    def test_no_effects_are_refused(self):
        with pytest.raises(UsageError, match="effects is empty"):
            assert_exactly_once(sending(doors.function(plain)), effects=[])

    def test_effect_that_cannot_be_counted_is_refused(self):
        with pytest.raises(UsageError, match="cannot be counted"):
            assert_exactly_once(sending(doors.function(plain)), effects=[1])  # type: ignore[list-item]  # the mistake

    def test_send_that_returns_no_response_is_refused(self):
        with pytest.raises(TypeError, match="Let it return the response"):
            assert_exactly_once(lambda key: None, effects=Effect.objects.all())

    def test_what_the_request_raises_is_raised(self):
        def send(key):
            raise LookupError(key)

        with pytest.raises(LookupError):
            assert_exactly_once(partial(send), effects=Effect.objects.all())


class TestUnittest(TransactionTestCase):
    databases = {"default", "other"}

    def test_plain_function(self):
        assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all())

    def test_mistake_is_a_failure(self):
        with pytest.raises(self.failureException):
            assert_exactly_once(sending(mistakes.unguarded), effects=Effect.objects.all())


class TestUnittestOnOneAlias(TransactionTestCase):
    def test_other_aliases_are_left_alone(self):
        assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all())


class TestUnittestInTransaction(TestCase):
    def test_is_refused(self):
        with pytest.raises(UsageError, match="TransactionTestCase"):
            assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all())
