"""The page of one key."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from django_idempotency.admin.bodies import HEAD_SIZE
from tests.admin.conftest import LIST
from tests.admin.factories import KeyFactory
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

NOW = timezone.now()
HOUR = timedelta(hours=1)


def page(client: Any, row: Any) -> str:
    response = client.get(f"{LIST}{row.pk}/change/")
    assert response.status_code == 200
    return str(response.content.decode())


def details(client: Any, row: Any) -> Any:
    return client.get(f"{LIST}{row.pk}/change/").context["idempotency"]


class TestKey:
    def test_shows_what_the_list_cuts_off(self, root):
        user = UserFactory.create(username="alice")
        row = KeyFactory.create(key="k" * 100, scope=f"user:{user.pk}", path="/" + "p" * 200, method="PATCH")

        text = page(root, row)

        for part in ("k" * 100, "PATCH /" + "p" * 200, ">alice</a>", str(row.pk), row.fingerprint, "http"):
            assert part in text

    def test_nothing_can_be_saved(self, root):
        text = page(root, KeyFactory.create())

        assert 'name="_save"' not in text
        assert "Delete" not in text

    @pytest.mark.parametrize(
        ("fields", "meaning"),
        [
            ({}, "A retry gets the stored response."),
            ({"body": None}, "The response was too large to store, or has been erased."),
            ({"completed": None, "body": None}, "The request runs; a retry is told to come again."),
            ({"expires": NOW - 2 * HOUR}, "The same request is a new one, and runs."),
            ({"expires": NOW - HOUR / 2}, "A retry is refused, and does not run, until the key is forgotten."),
        ],
    )
    def test_says_what_a_retry_meets(self, root, settings, fields, meaning):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = HOUR

        assert meaning in page(root, KeyFactory.create(**fields))

    def test_unknown_key_leads_back(self, root):
        assert root.get(f"{LIST}0c5b9b3e-9c5f-4b53-8f37-6e1c1f1e6a52/change/").status_code == 302
        assert root.get(f"{LIST}nonsense/change/").status_code == 302

    def test_number_of_queries_is_bounded(self, root):
        user = UserFactory.create()
        row = [KeyFactory.create(scope=f"user:{user.pk}") for _ in range(30)][15]
        page(root, row)

        with CaptureQueriesContext(connection) as queries:
            page(root, row)

        assert len(queries) <= 10


class TestTimeline:
    def events(self, client: Any, row: Any) -> list[tuple[str, str]]:
        return [(event.what, event.note) for event in details(client, row)["timeline"]]

    def test_from_claim_to_expiry(self, root):
        row = KeyFactory.create(created=NOW, completed=NOW + timedelta(milliseconds=120), expires=NOW + HOUR)

        assert self.events(root, row) == [("Claimed", ""), ("Completed", "after 120 ms"), ("Expires", "")]

    def test_slow_request_that_has_expired(self, root):
        row = KeyFactory.create(
            created=NOW - 3 * HOUR, completed=NOW - 3 * HOUR + timedelta(seconds=2.54), expires=NOW - HOUR
        )

        assert self.events(root, row) == [("Claimed", ""), ("Completed", "after 2.5 s"), ("Expired", "")]

    def test_request_in_progress(self, root):
        row = KeyFactory.create(created=NOW, completed=None, expires=NOW + HOUR)

        assert self.events(root, row) == [("Claimed", ""), ("Expires", "")]

    @pytest.mark.parametrize(("ago", "end"), [(2 * HOUR, "Forgotten"), (HOUR / 2, "Is forgotten")])
    def test_tombstone(self, root, settings, ago, end):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = HOUR
        row = KeyFactory.create(created=NOW - 5 * HOUR, completed=None, expires=NOW - ago)

        assert [what for what, _note in self.events(root, row)] == ["Claimed", "Expired", end]

    def test_what_people_did_is_in_it(self, root, superuser):
        row, other = (
            KeyFactory.create(created=NOW - HOUR, completed=NOW - HOUR, expires=NOW + HOUR),
            KeyFactory.create(),
        )
        for each, text in ((row, "Erased."), (other, "Another.")):
            LogEntry.objects.log_actions(superuser.pk, [each], CHANGE, change_message=text)

        assert self.events(root, row) == [
            ("Claimed", ""),
            ("Completed", "after 0 ms"),
            ("Erased.", "root"),
            ("Expires", ""),
        ]


class TestResponse:
    def test_headers(self, root):
        row = KeyFactory.create(headers=[["Location", "/charges/<1>/"]])

        assert '<th scope="row">Location</th><td class="idempotency-code">/charges/&lt;1&gt;/</td>' in page(root, row)

    def test_no_headers(self, root):
        assert "None are stored." in page(root, KeyFactory.create(headers=[]))

    def test_json_is_indented(self, root):
        row = KeyFactory.create(body=b'{"a":[1]}', headers=[["Content-Type", "application/json"]])

        assert escape(json.dumps({"a": [1]}, indent=2)) in page(root, row)

    def test_markup_is_not_run(self, root):
        row = KeyFactory.create(body=b"<script>alert(1)</script>", headers=[["Content-Type", "text/html"]])

        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page(root, row)

    def test_binary_is_its_size_and_a_hex_dump(self, root):
        row = KeyFactory.create(body=b"\x89PNG" * 500, headers=[["Content-Type", "image/png"]])

        text = page(root, row)

        assert "2.0\xa0KB" in text
        assert "of binary data" in text
        assert "only the beginning is shown" in text
        assert "00000000  89 50 4e 47 89" in text

    def test_long_body_is_read_in_part(self, root):
        row = KeyFactory.create(body=b"a" * HEAD_SIZE + b"THE END", headers=[["Content-Type", "text/plain"]])

        text = page(root, row)

        assert "a" * HEAD_SIZE in text
        assert "THE END" not in text
        assert "only the beginning is shown" in text

    def test_empty_body(self, root):
        text = page(root, KeyFactory.create(body=b""))

        assert "0\xa0bytes" in text
        assert "<pre" not in text

    def test_no_body(self, root):
        text = page(root, KeyFactory.create(body=None))

        assert "None is stored." in text
        assert "Download" not in text

    def test_body_needs_a_permission(self, operator):
        row = KeyFactory.create(body=b"secret", headers=[["Content-Type", "text/plain"]])
        client = operator("view_idempotencykey")

        with CaptureQueriesContext(connection) as queries:
            text = page(client, row)

        assert "You have no permission to see stored responses." in text
        assert "secret" not in text
        assert "Download" not in text
        assert not any("SUBSTR" in query["sql"].upper() for query in queries)
        assert "secret" in page(operator("view_idempotencykey", "view_response"), row)


class TestDownload:
    def test_body_comes_whole_and_as_a_file(self, operator):
        body = bytes(range(256)) * 1000
        row = KeyFactory.create(body=body, headers=[["Content-Type", "application/pdf"]])

        response = operator("view_idempotencykey", "view_response").get(f"{LIST}{row.pk}/response/")

        assert response.content == body
        assert response["Content-Disposition"] == f'attachment; filename="{row.pk}.pdf"'

    def test_no_browser_runs_it(self, root):
        row = KeyFactory.create(body=b"<script>", headers=[["Content-Type", "text/html"]])

        response = root.get(f"{LIST}{row.pk}/response/")

        assert response["Content-Type"] == "application/octet-stream"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert response["Content-Security-Policy"] == "sandbox"
        assert "no-store" in response["Cache-Control"]

    @pytest.mark.parametrize("permissions", [["view_idempotencykey"], ["view_response"]])
    def test_needs_both_permissions(self, operator, permissions):
        row = KeyFactory.create()

        assert operator(*permissions).get(f"{LIST}{row.pk}/response/").status_code == 403

    def test_there_is_none(self, root):
        row = KeyFactory.create(body=None)

        assert root.get(f"{LIST}{row.pk}/response/").status_code == 404
        assert root.get(f"{LIST}0c5b9b3e-9c5f-4b53-8f37-6e1c1f1e6a52/response/").status_code == 404

    def test_who_is_not_logged_in_is_asked_to(self, client):
        row = KeyFactory.create()

        assert client.get(f"{LIST}{row.pk}/response/").status_code == 302


class TestNeighbours:
    def keys(self, client: Any, row: Any) -> list[str]:
        return [each["key"].key for each in details(client, row)["neighbours"]]

    def scope(self, number: int, *, others: bool = False) -> list[Any]:
        for other in range(number if others else 0):
            KeyFactory.create(scope="other", expires=NOW + (1 + other) * HOUR)
        return [
            KeyFactory.create(key=str(each), scope="tenant", expires=NOW + (1 + each) * HOUR) for each in range(number)
        ]

    def test_other_keys_of_the_scope_are_shown(self, root):
        rows = self.scope(3, others=True)

        assert self.keys(root, rows[1]) == ["2", "0"]
        assert f"{LIST}{rows[2].pk}/change/" in page(root, rows[1])

    def test_only_the_nearest_are(self, root):
        rows = self.scope(40)

        assert self.keys(root, rows[20]) == [str(each) for each in range(30, 9, -1) if each != 20]
        assert self.keys(root, rows[39]) == [str(each) for each in range(38, 28, -1)]

    def test_large_scope_is_not_read_whole(self, root, monkeypatch):
        monkeypatch.setattr("django_idempotency.admin.windows.LISTED_ROWS", 5)
        monkeypatch.setattr("django_idempotency.admin.windows.WINDOW_ROWS", 12)
        rows = self.scope(20, others=True)

        # Half a window later, and the rest of it earlier, with a row of another scope beside each.
        assert self.keys(root, rows[10]) == ["14", "13", "12", "11", "9"]
        assert self.keys(root, rows[19]) == ["18", "17", "16", "15", "14"]

    def test_first_key_of_a_scope_is_alone(self, root):
        assert "There are none." in page(root, KeyFactory.create())
