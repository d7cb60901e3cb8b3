"""The search: what people have at hand, looked up in an index."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.admin.conftest import LIST
from tests.admin.factories import KeyFactory
from tests.admin.test_list import follow, listed, page
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


class TestSearch:
    def test_key_is_found_in_every_scope(self, root):
        for scope in ("user:1", "user:2"):
            KeyFactory.create(key="abc", scope=scope)
        KeyFactory.create(key="abcd")

        assert listed(root, "?q=abc") == ["abc", "abc"]
        assert listed(root, "?q=%20abc%20") == ["abc", "abc"]

    @pytest.mark.parametrize("term", ["ab", "ABC", "bc", "a%", "abc def", "%00", "é", "x" * 300])
    def test_nothing_but_the_whole_key_is_found(self, root, term):
        KeyFactory.create(key="abc")

        assert listed(root, f"?q={term}") in ([], ["abc"] if term == "%00" else [])

    def test_digest_is_found_as_the_log_has_it(self, root):
        row = KeyFactory.create(key="abc")
        KeyFactory.create()

        assert listed(root, f"?q={row.pk}") == ["abc"]

    def test_key_that_looks_like_a_digest_is_found(self, root):
        key = "0c5b9b3e-9c5f-4b53-8f37-6e1c1f1e6a52"
        KeyFactory.create(key=key)

        assert listed(root, f"?q={key}") == [key]

    def test_scope_is_found(self, root):
        KeyFactory.create(key="1", scope="tenant 7")
        KeyFactory.create(key="2", scope="tenant 70")

        assert listed(root, "?q=tenant%207") == ["1"]

    def test_user_is_found_by_name(self, root):
        user = UserFactory.create(username="alice")
        KeyFactory.create(key="1", scope=f"user:{user.pk}")
        KeyFactory.create(key="2", scope=f"user:{user.pk}0")

        assert listed(root, "?q=alice") == ["1"]

    def test_who_may_not_view_users_finds_none_by_name(self, operator):
        user = UserFactory.create(username="alice")
        KeyFactory.create(scope=f"user:{user.pk}")

        assert listed(operator("view_idempotencykey"), "?q=alice") == []

    def test_filters_narrow_what_is_found(self, root):
        KeyFactory.create(key="abc", scope="user:1")
        KeyFactory.create(key="abc", scope="user:2", status=402)

        assert listed(root, "?q=abc&status=4xx") == ["abc"]

    def test_key_is_looked_up_in_a_range_of_the_primary_key(self, root):
        KeyFactory.create(key="abc")

        with CaptureQueriesContext(connection) as queries:
            root.get(f"{LIST}?q=abc")

        table = connection.ops.quote_name("django_idempotency_idempotencykey")
        asked = [query["sql"] for query in queries if f"FROM {table}" in query["sql"]]
        assert asked
        assert all("BETWEEN" in sql and "LIKE" not in sql and "UPPER" not in sql for sql in asked)

    def test_charts_are_not_drawn_with_it(self, root):
        assert "<figure" in page(root)
        assert "<figure" not in page(root, "?q=abc")


class TestManyFound:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr("django_idempotency.admin.windows.LISTED_ROWS", 3)
        monkeypatch.setattr("django_idempotency.admin.windows.WINDOW_ROWS", 4)

    @pytest.mark.parametrize("term", ["tenant", "same"])
    def test_scope_or_key_with_too_many_rows_is_searched_in_a_window(self, root, term):
        now = timezone.now()
        for number in range(12):
            fields = {"scope": "tenant"} if term == "tenant" else {"key": "same"}
            fields = {"key": str(number), "scope": str(number), **fields} if number % 2 else {}
            KeyFactory.create(expires=now + (1 + number) * HOUR, status=200 + number, **fields)

        assert root.get(f"{LIST}?q={term}").context["cl"].window is not None
        assert len(listed(root, f"?q={term}")) == 2
        assert len(follow(root, f"?q={term}")) == 6
