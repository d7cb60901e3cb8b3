"""What people may do to keys."""

import re
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_idempotency.admin import IdempotencyKeyAdmin
from django_idempotency.exceptions import ResponseExpired, ResponseNotStored
from django_idempotency.execution import execute
from django_idempotency.models import IdempotencyKey
from tests.admin.conftest import LIST
from tests.admin.factories import KeyFactory
from tests.operations import CODEC, operation

HOUR = timedelta(hours=1)
MAY_EXPIRE = ("view_idempotencykey", "expire_idempotencykey")
MAY_ERASE = ("view_idempotencykey", "erase_response")


def answered(key: str = "key") -> IdempotencyKey:
    """Return the key of a request that has run, and was answered with "first"."""
    execute(operation(key), lambda: "first", codec=CODEC)
    return IdempotencyKey.objects.get(key=key)


def retry(key: str = "key") -> str:
    return execute(operation(key), lambda: "again", codec=CODEC).value


def act(client: Any, action: str, *rows: Any, confirmed: bool = True, **more: Any) -> Any:
    """Choose *rows* in the list, and an action on them."""
    fields = {"action": action, "_selected_action": [str(row.pk) for row in rows], **more}
    if confirmed:
        fields["confirmed"] = "yes"
    else:
        fields["index"] = "0"
    return client.post(LIST, fields)


def act_on_one(client: Any, action: str, row: Any) -> Any:
    return client.post(f"{LIST}{row.pk}/{action}/", {"confirmed": "yes"})


def told(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def logged() -> list[tuple[str, str, str]]:
    entries = LogEntry.objects.order_by("pk").select_related("user")
    return [(entry.user.get_username(), entry.object_repr, entry.get_change_message()) for entry in entries]


@pytest.mark.django_db
class TestExpire:
    @pytest.mark.parametrize("do", [act, act_on_one])
    def test_request_runs_again(self, operator, do):
        row = answered()
        assert retry() == "first"

        response = do(operator(*MAY_EXPIRE), "expire", row)

        assert response.status_code == 302
        assert told(response) == ["1 key has expired. Its request may run again."]
        assert retry() == "again"

    def test_request_runs_again_although_there_are_tombstones(self, root, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = HOUR
        row = answered()
        IdempotencyKey.objects.update(expires=timezone.now() - HOUR / 2)
        with pytest.raises(ResponseExpired):
            retry()

        act_on_one(root, "expire", row)

        assert retry() == "again"

    def test_many_at_once(self, root):
        rows = [answered(str(number)) for number in range(3)]

        response = act(root, "expire", *rows)

        assert told(response) == ["3 keys have expired. Their requests may run again."]
        assert not IdempotencyKey.objects.unexpired().exists()

    def test_others_stay(self, root):
        other = answered("other")

        act(root, "expire", answered())

        assert list(IdempotencyKey.objects.unexpired()) == [other]

    def test_key_that_has_expired_is_left(self, root):
        row, old = answered(), KeyFactory.create(expires=timezone.now() - HOUR)

        response = act(root, "expire", row, old)

        assert told(response) == [
            "1 key has expired. Its request may run again.",
            "1 key was left as it is: it had expired before, is gone, or is in use.",
        ]
        assert len(logged()) == 1


@pytest.mark.django_db
class TestErase:
    @pytest.mark.parametrize("do", [act, act_on_one])
    def test_retry_is_refused_and_does_not_run(self, operator, do):
        row = answered()

        response = do(operator(*MAY_ERASE), "erase", row)

        assert told(response) == ["The stored response of 1 key is erased."]
        with pytest.raises(ResponseNotStored, match="answered with status 200"):
            retry()

    def test_nothing_of_the_response_stays_but_its_status(self, root):
        row = KeyFactory.create(headers=[["Location", "/charges/1/"]], status=201)

        act(root, "erase", row)

        row.refresh_from_db()
        assert (row.body, row.headers, row.status) == (None, [], 201)

    def test_headers_of_a_response_that_was_too_large_are_erased(self, root):
        row = KeyFactory.create(headers=[["Location", "/charges/1/"]], body=None)

        response = act(root, "erase", row)

        row.refresh_from_db()
        assert row.headers == []
        assert told(response) == ["The stored response of 1 key is erased."]

    def test_key_without_response_is_left(self, root):
        response = act(root, "erase", KeyFactory.create(body=None), KeyFactory.create(body=None))

        assert told(response) == ["2 keys were left as they are: they had no stored response, are gone, or are in use."]

    def test_key_still_expires(self, root):
        row = answered()
        act(root, "erase", row)

        act(root, "expire", row)

        assert retry() == "again"


@pytest.mark.django_db
@pytest.mark.parametrize("action", ["expire", "erase"])
class TestAnyAction:
    def untouched(self, row: IdempotencyKey) -> bool:
        same = IdempotencyKey.objects.filter(pk=row.pk, expires=row.expires, body__isnull=False)
        return same.exists() and not LogEntry.objects.exists()

    def test_list_asks_first(self, root, action):
        rows = [KeyFactory.create(key=f"key{number}") for number in range(2)]

        response = act(root, action, *rows, confirmed=False)

        text = response.content.decode()
        assert response.status_code == 200
        assert all(self.untouched(row) for row in rows)
        assert all(f'name="_selected_action" value="{row.pk}"' in text and row.key in text for row in rows)
        assert f'name="action" value="{action}"' in text

    def test_form_of_the_question_does_it(self, root, action):
        row = KeyFactory.create()
        text = act(root, action, row, confirmed=False).content.decode()
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))

        root.post(LIST, fields)

        assert not self.untouched(row)

    def test_page_of_a_key_asks_first(self, root, action):
        row = KeyFactory.create()
        address = f"{LIST}{row.pk}/{action}/"

        response = root.get(address)

        assert f'href="../{action}/"' in root.get(f"{LIST}{row.pk}/change/").content.decode()
        assert 'name="confirmed"' in response.content.decode()
        assert f'href="{LIST}{row.pk}/change/"' in response.content.decode()
        assert root.post(address).status_code == 200
        assert self.untouched(row)

    def test_is_logged(self, root, action):
        row = KeyFactory.create(key="abc")

        act_on_one(root, action, row)
        act(root, "erase" if action == "expire" else "expire", row)

        texts = ["Expired by hand.", "Stored response erased."]
        assert logged() == [("root", "abc", text) for text in (texts if action == "expire" else texts[::-1])]

    def test_is_logged_or_not_done(self, root, action, monkeypatch):
        def fail(*args: object) -> None:
            raise RuntimeError("the log is full")

        row = KeyFactory.create()
        monkeypatch.setattr(IdempotencyKeyAdmin, "log_change", fail)

        with pytest.raises(RuntimeError, match="the log is full"):
            act(root, action, row)
        assert self.untouched(row)

    def test_needs_its_own_permission(self, operator, action):
        row = KeyFactory.create()
        client = operator(
            "view_idempotencykey", *({MAY_EXPIRE[1], MAY_ERASE[1], "view_response"} - {permission(action)})
        )

        assert f'value="{action}"' not in client.get(LIST).content.decode()
        assert f"../{action}/" not in client.get(f"{LIST}{row.pk}/change/").content.decode()
        assert client.get(f"{LIST}{row.pk}/{action}/").status_code == 403
        assert act_on_one(client, action, row).status_code == 403
        act(client, action, row)
        assert self.untouched(row)

    def test_needs_the_permission_to_view_as_well(self, operator, action):
        row = KeyFactory.create()

        assert act_on_one(operator(permission(action)), action, row).status_code == 403
        assert self.untouched(row)

    def test_cannot_be_forged_from_another_site(self, superuser, action):
        row = KeyFactory.create()
        client = Client(enforce_csrf_checks=True)
        client.force_login(superuser)

        assert act(client, action, row).status_code == 403
        assert act_on_one(client, action, row).status_code == 403
        assert self.untouched(row)

    def test_key_that_is_gone(self, root, action):
        row = KeyFactory.create()
        IdempotencyKey.objects.all().delete()

        assert root.get(f"{LIST}{row.pk}/{action}/").status_code == 404
        (text,) = told(act(root, action, row))
        assert text.startswith("1 key was left as it is")

    def test_at_most_some_hundred_at_once(self, root, action, monkeypatch):
        monkeypatch.setattr("django_idempotency.admin.views.MOST_KEYS", 2)
        rows = [KeyFactory.create() for _ in range(3)]

        response = act(root, action, rows[0], confirmed=False, select_across="1")

        assert response.status_code == 302
        assert told(response) == ["Choose at most 2 keys at once."]
        act(root, action, *rows)
        assert IdempotencyKey.objects.replayable().count() == 1

    @pytest.mark.engine("postgresql", "mariadb")
    def test_locks_the_rows(self, root, action):
        row = KeyFactory.create()

        with CaptureQueriesContext(connection) as queries:
            act(root, action, row)

        locks = [query["sql"] for query in queries if "FOR UPDATE" in query["sql"]]
        assert locks
        assert all(lock.endswith("SKIP LOCKED") for lock in locks)


def permission(action: str) -> str:
    return MAY_EXPIRE[1] if action == "expire" else MAY_ERASE[1]


@contextmanager
def held(row: IdempotencyKey) -> Any:
    """Hold *row* in another session, as a running request does that renews its key, or a purge."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            table = other.ops.quote_name(IdempotencyKey._meta.db_table)
            cursor.execute(f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE", [row.pk])
            assert cursor.fetchone()
        yield
    finally:
        other.rollback()
        other.close()


@pytest.mark.engine("postgresql", "mariadb")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ["expire", "erase"])
class TestKeyInUse:
    def test_is_left_at_once(self, root, action):
        row, free = KeyFactory.create(), KeyFactory.create()

        with held(row):
            texts = told(act(root, action, row, free))

        assert len(texts) == 2
        assert "is in use" in texts[1]
        assert [name for _user, name, _text in logged()] == [free.key]
