"""The list of keys: what it shows, and that it stays small whatever is asked of it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin import AdminSite, AllValuesFieldListFilter, ModelAdmin
from django.contrib.auth.models import User
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from django_idempotency.admin import IdempotencyKeyAdmin
from django_idempotency.admin.users import scopes_of, users_of
from django_idempotency.http import scope_of
from django_idempotency.models import IdempotencyKey
from tests.admin.conftest import LIST
from tests.admin.factories import KeyFactory
from tests.admin.people.models import Person
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def listed(client: Any, query: str = "") -> list[str]:
    """Return the keys on the first page, in order."""
    response = client.get(f"{LIST}{query}")
    assert response.status_code == 200
    return [row.key for row in response.context["cl"].result_list]


def follow(client: Any, query: str = "") -> list[str]:
    """Return the keys of all pages, and of those that are further back."""
    keys: list[str] = []
    while True:
        changes = client.get(f"{LIST}{query}").context["cl"]
        for page in changes.paginator.page_range:
            keys += listed(client, f"{query or '?'}&p={page}")
        if not changes.older:
            return keys
        query = changes.older


class TestList:
    def test_row_shows_what_there_is_to_know(self, root):
        now = timezone.now()
        KeyFactory.create(
            key="0123456789abcdef",
            scope="tenant 7",
            method="PATCH",
            path="/orders/1/",
            status=402,
            body=b"x" * 2048,
            created=now,
            expires=now + HOUR,
        )

        text = root.get(LIST).content.decode()

        assert 'title="0123456789abcdef">012345…bcdef<' in text
        for part in (
            "tenant 7",
            "PATCH /orders/1/",
            "402",
            "Completed",
            "2.0\xa0KB",
            timezone.localtime(now).isoformat(),
        ):
            assert part in text

    @pytest.mark.parametrize(
        ("fields", "state"),
        [
            ({}, "Completed"),
            ({"body": b""}, "Completed"),
            ({"body": None}, "Not stored"),
            ({"completed": None, "body": None}, "In progress"),
            ({"expires": timezone.now() - HOUR}, "Expired"),
        ],
    )
    def test_state(self, root, fields, state):
        KeyFactory.create(**fields)

        assert f"</span>{state}<" in re.sub(r'<span class="idempotency-state[^>]*>', "</span>", page(root))

    def test_key_whose_response_has_expired_is_told_from_one_that_is_forgotten(self, root, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = HOUR
        KeyFactory.create(expires=timezone.now() - HOUR / 2)

        assert "Response expired" in page(root)

    def test_what_expires_last_comes_first(self, root):
        now = timezone.now()
        for number in (2, 1, 3):
            KeyFactory.create(key=str(number), expires=now + number * HOUR)

        assert listed(root) == ["3", "2", "1"]
        assert listed(root, "?o=7") == ["1", "2", "3"]

    @pytest.mark.parametrize("column", [0, 1, 2, 3, 4, 5, 6, 8])
    def test_nothing_is_sorted_that_no_index_sorts(self, root, column):
        with CaptureQueriesContext(connection) as queries:
            root.get(f"{LIST}?o={column}")

        orders = {query["sql"].rpartition("ORDER BY")[2] for query in queries if "ORDER BY" in query["sql"]}
        assert orders
        assert not any(name in order for order in orders for name in ("created", "status", "scope", '"key"', "path"))

    def test_number_of_queries_does_not_grow_with_the_rows(self, root):
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                root.get(LIST)
            return len(captured)

        KeyFactory.create(scope=f"user:{UserFactory.create().pk}")
        few = queries()
        for _ in range(20):
            KeyFactory.create(scope=f"user:{UserFactory.create().pk}")

        assert queries() == few <= 9

    def test_bodies_are_measured_and_not_read(self, root):
        KeyFactory.create(body=b"secret")

        with CaptureQueriesContext(connection) as queries:
            text = page(root)

        assert "6\xa0bytes" in text
        column = connection.ops.quote_name("body")
        selected = [query["sql"] for query in queries if f"{column}," in query["sql"].replace(f"({column}", "")]
        assert not [sql for sql in selected if f".{column}," in sql]

    def test_page_has_no_script_or_style_of_ours(self, root):
        KeyFactory.create()

        text = page(root)

        assert " style=" not in text
        assert "<style" not in text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)

    @pytest.mark.parametrize(
        "lookup", ["body__contains", "key__startswith", "scope", "fingerprint", "nonsense", "status__gt"]
    )
    def test_no_other_lookup_is_answered(self, operator, lookup):
        assert operator("view_idempotencykey").get(f"{LIST}?{lookup}=a").status_code == 400

    def test_facets_are_not_counted(self, root):
        with CaptureQueriesContext(connection) as queries:
            root.get(f"{LIST}?_facets=True")

        assert not any("FILTER" in query["sql"] or "__c" in query["sql"] for query in queries)

    @pytest.mark.parametrize("address", ["add/", "{pk}/delete/"])
    def test_nobody_adds_or_deletes(self, root, address):
        row = KeyFactory.create()

        assert root.get(LIST + address.format(pk=row.pk)).status_code == 403

    def test_nobody_edits(self, root):
        row = KeyFactory.create()

        assert root.post(f"{LIST}{row.pk}/change/", {"key": "other"}).status_code == 403

    def test_without_permission_nothing_is_seen(self, operator):
        row = KeyFactory.create()
        client = operator()

        for address in ("", f"{row.pk}/change/", f"{row.pk}/response/", f"{row.pk}/expire/", f"{row.pk}/erase/"):
            assert client.get(LIST + address).status_code == 403


def page(client: Any, query: str = "") -> str:
    return str(client.get(f"{LIST}{query}").content.decode())


class TestBoundedPaginator:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr("django_idempotency.admin.windows.LISTED_ROWS", 5)
        monkeypatch.setattr(IdempotencyKeyAdmin, "list_per_page", 2)

    def test_no_more_is_counted_than_is_listed(self, root):
        for _ in range(7):
            KeyFactory.create()

        changes = root.get(LIST).context["cl"]

        assert (changes.result_count, changes.paginator.num_pages) == (5, 3)
        assert "The first 5 are listed." in page(root)

    def test_the_rest_is_further_back(self, root):
        now = timezone.now()
        for number in range(12):
            KeyFactory.create(key=str(number), expires=now + number * HOUR)

        # The last row of one list is the first of the next: another may expire at the same moment.
        assert follow(root) == [str(number) for number in (11, 10, 9, 8, 7, 7, 6, 5, 4, 3, 3, 2, 1, 0)]

    def test_way_back_to_the_latest(self, root):
        for _ in range(7):
            KeyFactory.create()
        older = root.get(LIST).context["cl"].older

        changes = root.get(LIST + older).context["cl"]

        assert changes.latest == "?"
        assert "Back to the latest" in page(root, older)

    def test_few_rows_need_no_note(self, root):
        KeyFactory.create()

        assert "Look further back" not in page(root)
        assert "Back to the latest" not in page(root)


class TestFilters:
    @pytest.fixture
    def keys(self, db):
        now = timezone.now()
        KeyFactory.create(key="new", created=now, expires=now + HOUR)
        KeyFactory.create(key="unstored", body=None, created=now - 2 * HOUR, expires=now + 2 * HOUR)
        KeyFactory.create(key="old", status=402, method="PATCH", created=now - 50 * HOUR, expires=now - 26 * HOUR)
        KeyFactory.create(key="job", status=None, method="", created=now - 8 * 24 * HOUR, expires=now + 3 * HOUR)
        KeyFactory.create(key="moved", status=302, created=now - 40 * 24 * HOUR, expires=now + 4 * HOUR)
        KeyFactory.create(key="broken", status=503, method="PUT", created=now - 40 * 24 * HOUR, expires=now + 5 * HOUR)

    @pytest.mark.parametrize(
        ("query", "keys_found"),
        [
            ("state=completed", "broken moved job new"),
            ("state=not_stored", "unstored"),
            ("state=expired", "old"),
            ("status=2xx", "unstored new"),
            ("status=3xx", "moved"),
            ("status=4xx", "old"),
            ("status=5xx", "broken"),
            ("status=none", "job"),
            ("method=POST", "moved unstored new"),
            ("method=PATCH", "old"),
            ("method=other", "broken job"),
            ("created=hour", "new"),
            ("created=day", "unstored new"),
            ("created=week", "unstored new old"),
            ("created=month", "job unstored new old"),
            ("created=month&status=2xx&state=completed", "new"),
            ("state=nonsense", "broken moved job unstored new old"),
            ("created=nonsense&status=nonsense", "broken moved job unstored new old"),
        ],
    )
    def test_choice(self, root, keys, query, keys_found):
        assert listed(root, f"?{query}") == keys_found.split()

    def test_methods_are_those_of_the_settings(self, root, settings):
        settings.IDEMPOTENCY_METHODS = ("PUT",)

        assert "?method=PUT" in page(root)
        assert "?method=POST" not in page(root)

    def test_project_may_have_filters_of_its_own(self, root, keys, monkeypatch):
        specs = (*IdempotencyKeyAdmin.list_filter, "namespace", ("status", AllValuesFieldListFilter))
        monkeypatch.setattr(IdempotencyKeyAdmin, "list_filter", specs)

        assert listed(root, "?namespace=http&status__exact=402") == ["old"]
        assert root.get(f"{LIST}?name=http").status_code == 400

    def test_choices_ask_nothing_of_the_database(self, root):
        with CaptureQueriesContext(connection) as queries:
            root.get(LIST)

        assert not any("DISTINCT" in query["sql"] for query in queries)

    @pytest.mark.usefixtures("keys")
    def test_key_that_was_expired_by_hand_counts_by_its_creation(self, root, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 24 * HOUR
        now = timezone.now()
        KeyFactory.create(key="by hand", created=now - HOUR / 2, expires=now - 24 * HOUR)

        assert listed(root, "?created=hour") == ["new", "by hand"]


class TestWindow:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr("django_idempotency.admin.windows.WINDOW_ROWS", 4)

    @pytest.fixture
    def keys(self, db):
        now = timezone.now()
        for number in range(10):
            KeyFactory.create(
                key=str(number), status=402 if number % 5 == 0 else 201, expires=now + (1 + number) * HOUR
            )

    def test_filter_reads_a_bounded_number_of_rows(self, root, keys):
        assert listed(root, "?status=4xx") == []
        assert "Looked for among the keys that expire after" in page(root, "?status=4xx")

    def test_what_is_further_back_is_found_there(self, root, keys):
        assert follow(root, "?status=4xx") == ["5", "0"]

    def test_expired_keys_have_a_window_of_their_own(self, root, keys):
        KeyFactory.create(key="old", expires=timezone.now() - HOUR)

        assert listed(root, "?state=expired") == ["old"]

    def test_created_filter_has_a_window_of_its_own(self, root, keys):
        now = timezone.now()
        KeyFactory.create(key="old", created=now - 3 * HOUR, expires=now - 2 * HOUR)

        assert root.get(f"{LIST}?created=hour").context["cl"].window.after is not None
        assert "old" not in follow(root, "?created=hour")

    def test_list_without_filters_needs_none(self, root, keys):
        assert len(listed(root)) == 10

    @pytest.mark.parametrize("before", ["nonsense", "2026-13-01T00:00:00", "2026-01-01T00:00:00", ""])
    def test_position_that_is_none_is_passed_over(self, root, keys, before):
        assert len(listed(root, f"?before={before}")) == 10


class TestOwner:
    @pytest.fixture
    def customer(self, db) -> User:
        return UserFactory.create(username="alice")

    def link(self, user: User) -> str:
        return f'<a class="idempotency-link" href="/admin/auth/user/{user.pk}/change/">{user.username}</a>'

    def test_scope_is_linked_to_its_user(self, root, customer):
        KeyFactory.create(scope=f"user:{customer.pk}")

        assert self.link(customer) in page(root)

    def test_scope_is_the_one_that_requests_have(self, customer):
        request = RequestFactory().post("/")
        request.user = customer

        assert scope_of(request) == f"user:{customer.pk}"

    def test_who_may_not_view_users_sees_no_names(self, operator, customer):
        KeyFactory.create(scope=f"user:{customer.pk}")

        text = page(operator("view_idempotencykey"))

        assert f"user:{customer.pk}" in text
        assert "alice" not in text

    def test_who_may_view_users_sees_names(self, operator, customer):
        KeyFactory.create(scope=f"user:{customer.pk}")

        assert self.link(customer) in page(operator("view_idempotencykey", "view_user"))

    @pytest.mark.parametrize(
        "scope", ["anonymous", "user:", "user:x", "user:007", "user:-1", "user:99999999999999999999999", "tenant:1"]
    )
    def test_scope_that_is_no_users_is_shown_as_it_is(self, root, scope):
        KeyFactory.create(scope=scope)

        assert escape(scope) in page(root)
        assert "idempotency-link" not in page(root)

    def test_user_who_is_gone_is_shown_as_a_scope(self, root):
        KeyFactory.create(scope="user:123456")

        assert "user:123456" in page(root)


class TestUsersOf:
    @pytest.fixture
    def request_of_root(self, superuser):
        request = RequestFactory().get("/")
        request.user = superuser
        return request

    def test_users_that_are_not_in_the_site_have_no_links(self, request_of_root):
        user = UserFactory.create()
        site = AdminSite()

        assert users_of([f"user:{user.pk}"], request=request_of_root, site=site) == {}
        assert scopes_of(user.username, request=request_of_root, site=site) == []

    def test_users_of_a_projects_own_model(self, request_of_root, settings, monkeypatch):
        settings.AUTH_USER_MODEL = "people.Person"
        person = Person.objects.create(address="alice@example.com")
        site = AdminSite()
        site.register(Person)
        monkeypatch.setattr("django_idempotency.admin.users.reverse", lambda view, args, current_app: f"{view} {args}")
        scope = f"user:{person.pk}"

        found = users_of([scope, "user:1", "user:x"], request=request_of_root, site=site)

        assert found[scope].name == "alice@example.com"
        assert found[scope].url == f"admin:people_person_change [{person.pk!r}]"
        assert scopes_of("alice@example.com", request=request_of_root, site=site) == [scope]

    def test_users_admin_decides_who_is_seen(self, request_of_root):
        class NobodyAdmin(ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
            def get_queryset(self, request):
                return super().get_queryset(request).none()

        user = UserFactory.create()
        site = AdminSite()
        site.register(User, NobodyAdmin)

        assert users_of([f"user:{user.pk}"], request=request_of_root, site=site) == {}
        assert scopes_of(user.username, request=request_of_root, site=site) == []


class TestDatabase:
    @pytest.mark.django_db(databases=["default", "other"])
    def test_keys_are_read_where_they_are_written(self, root, settings):
        class Router:
            def db_for_write(self, model, **hints):
                return "other" if model is IdempotencyKey else None

            def db_for_read(self, model, **hints):
                return "default"

        KeyFactory.build(key="there").save(using="other")
        settings.DATABASE_ROUTERS = [Router()]

        assert listed(root) == ["there"]
