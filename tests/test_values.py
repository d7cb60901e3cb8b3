"""The identity of an operation."""

import uuid
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest
from django.db import connection

from django_idempotency.exceptions import UsageError
from django_idempotency.fingerprint import Fingerprint
from django_idempotency.models import IdempotencyKey
from django_idempotency.values import (
    METHOD_MAX_LENGTH,
    NAMESPACE_MAX_LENGTH,
    PATH_MAX_LENGTH,
    SCOPE_MAX_LENGTH,
    Operation,
    StoredResponse,
    digests_of,
)
from tests.operations import operation


class TestOperation:
    def test_same_identity_is_the_same_operation(self):
        assert operation("a").digest == operation("a", content=b"other", ttl=timedelta(1)).digest

    @pytest.mark.parametrize(
        "other",
        [
            {"key": "b"},
            {"scope": "user:1"},
            {"namespace": "http"},
            {"key": "A"},
            {"key": "a "},
            {"key": "á"},
            {"scope": "Anonymous"},
            {"scope": "anonymous "},
            {"namespace": "tes", "scope": "tanonymous"},
            {"scope": "anonymousa", "key": " "},
        ],
    )
    def test_other_identity_is_another_operation(self, other):
        assert operation(**{"key": "a", **other}).digest != operation("a").digest

    def test_digest_is_stable_between_releases(self):
        assert operation("key").digest == uuid.UUID("7e8a5cb1-a8b5-8cb1-a3f1-b2114e7c890d")

    def test_digest_is_a_uuid_of_version_8(self):
        digests = [operation(str(number)).digest for number in range(1000)]

        assert {(digest.variant, digest.version) for digest in digests} == {(uuid.RFC_4122, 8)}
        assert len(set(digests)) == 1000

    @pytest.mark.parametrize("part", ["namespace", "scope", "key"])
    @pytest.mark.parametrize("value", ["", "\0", "a\n", "\ud800", "a\u2028", 1, None, b"a"])
    def test_part_that_is_no_printable_text_is_refused(self, part, value):
        with pytest.raises(UsageError, match=f"An operation's {part} must"):
            operation(**{"key": "a", part: value})

    @pytest.mark.parametrize(
        ("part", "length"), [("namespace", NAMESPACE_MAX_LENGTH), ("scope", SCOPE_MAX_LENGTH), ("key", 255)]
    )
    def test_part_that_is_too_long_is_refused(self, part, length):
        operation(**{"key": "a", part: "x" * length})

        with pytest.raises(UsageError, match=f"1 to {length} characters, not {length + 1}"):
            operation(**{"key": "a", part: "x" * (length + 1)})

    @pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1)])
    def test_ttl_that_is_not_positive_is_refused(self, ttl):
        with pytest.raises(UsageError, match="ttl must be positive"):
            operation(ttl=ttl)

    def test_method_and_path_are_cut_to_their_columns(self):
        cut = Operation(
            namespace="http",
            scope="anonymous",
            key="a",
            fingerprint=Fingerprint.of(),
            ttl=timedelta(hours=1),
            method="M" * 100,
            path="/" * 1000,
        )

        assert (len(cut.method), len(cut.path)) == (METHOD_MAX_LENGTH, PATH_MAX_LENGTH)

    def test_is_frozen(self):
        with pytest.raises(FrozenInstanceError):
            operation().key = "other"  # type: ignore[misc]  # that is what is tested

    def test_replaced_key_has_another_digest(self):
        assert replace(operation("a"), key="b").digest == operation("b").digest

    # Note [One digest decides]: an engine must give back the UUID that it was given.
    @pytest.mark.django_db
    def test_every_engine_keeps_every_digest(self):
        digests = {operation(str(number)).digest for number in range(4000)}
        field = IdempotencyKey._meta.pk
        marks = ", ".join(["(%s)"] * len(digests))
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE TEMPORARY TABLE digests (id {field.db_type(connection)})")
            cursor.execute(
                f"INSERT INTO digests VALUES {marks}",
                [field.get_db_prep_value(digest, connection) for digest in digests],
            )
            cursor.execute("SELECT id FROM digests")
            kept = {uuid.UUID(str(value)) for (value,) in cursor.fetchall()}

        assert kept == digests


class TestDigestsOf:
    def test_digests_of_a_key_are_within_its_range(self):
        least, greatest = digests_of("key")

        assert least < operation("key", scope="user:1").digest < greatest
        assert least < operation("key", namespace="tasks").digest < greatest

    def test_ranges_of_other_keys_are_elsewhere(self):
        least, greatest = digests_of("key")

        assert not any(least <= operation(f"key{number}").digest <= greatest for number in range(1000))


class TestStoredResponse:
    @pytest.mark.parametrize(
        ("status", "success"), [(None, True), (200, True), (399, True), (400, False), (500, False)]
    )
    def test_tells_success_below_400_and_without_a_status(self, status, success):
        assert StoredResponse(status=status).tells_success is success

    def test_nothing_but_an_empty_body_is_stored_by_default(self):
        assert StoredResponse() == StoredResponse(status=None, headers=(), body=b"")
