"""The row, and its adjectives."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, connection, models
from django.utils import timezone

from django_idempotency.models import IdempotencyKey, IdempotentRun, IdempotentStep
from django_idempotency.values import (
    METHOD_MAX_LENGTH,
    NAMESPACE_MAX_LENGTH,
    PATH_MAX_LENGTH,
    SCOPE_MAX_LENGTH,
)
from tests.factories import IdempotencyKeyFactory
from tests.operations import operation

NOW = timezone.now()
HOUR = timedelta(hours=1)


@pytest.mark.django_db
class TestIdempotencyKeyQuerySet:
    def test_expired_and_unexpired_part_the_keys(self):
        old = IdempotencyKeyFactory.create(expires=NOW - HOUR)
        new = IdempotencyKeyFactory.create(expires=NOW + HOUR)

        assert list(IdempotencyKey.objects.expired()) == [old]
        assert list(IdempotencyKey.objects.unexpired()) == [new]

    def test_moment_of_expiry_is_expired(self):
        row = IdempotencyKeyFactory.create(expires=NOW + HOUR)

        assert list(IdempotencyKey.objects.expired(NOW + HOUR)) == [row]
        assert not IdempotencyKey.objects.unexpired(NOW + HOUR).exists()
        assert not IdempotencyKey.objects.expired(NOW + HOUR - timedelta(microseconds=1)).exists()

    def test_completed(self):
        IdempotencyKeyFactory.create(completed=None)
        completed = IdempotencyKeyFactory.create(completed=NOW)

        assert list(IdempotencyKey.objects.completed()) == [completed]

    def test_replayable_are_completed_unexpired_and_have_a_body(self):
        IdempotencyKeyFactory.create(completed=None)
        IdempotencyKeyFactory.create(body=None)
        IdempotencyKeyFactory.create(expires=NOW - HOUR)
        replayable = IdempotencyKeyFactory.create(body=b"")

        assert list(IdempotencyKey.objects.replayable()) == [replayable]
        assert not IdempotencyKey.objects.replayable(NOW + 2 * HOUR).exists()

    def test_with_key_finds_it_in_every_scope_and_namespace(self):
        wanted = [operation("key", scope=scope) for scope in ("user:1", "user:2")] + [operation("key", namespace="a")]
        others = [operation(f"key{number}") for number in range(50)]
        for each in wanted + others:
            IdempotencyKeyFactory.create(pk=each.digest, namespace=each.namespace, scope=each.scope, key=each.key)

        found = IdempotencyKey.objects.with_key("key")

        assert {row.pk for row in found} == {each.digest for each in wanted}
        assert not IdempotencyKey.objects.with_key("KEY").exists()

    def test_adjectives_can_be_chained(self):
        IdempotencyKeyFactory.create(expires=NOW - HOUR, completed=None)
        row = IdempotencyKeyFactory.create(expires=NOW - HOUR)

        assert list(IdempotencyKey.objects.filter(status=201).expired().completed()) == [row]


@pytest.mark.django_db
class TestIdempotencyKey:
    def test_digest_is_the_only_unique_thing(self):
        row = IdempotencyKeyFactory.create()

        IdempotencyKeyFactory.create(namespace=row.namespace, scope=row.scope, key=row.key)
        with pytest.raises(IntegrityError):
            IdempotencyKeyFactory.create(pk=row.pk)

    def test_is_named_by_its_key(self):
        assert str(IdempotencyKey(key="abc")) == "abc"

    def test_headers_and_body_come_back_as_they_were(self):
        body = bytes(range(256))
        row = IdempotencyKeyFactory.create(headers=[["X-Name", "ü€"]], body=body)

        row.refresh_from_db()

        assert row.headers == [["X-Name", "ü€"]]
        assert bytes(row.body or b"") == body

    def test_people_may_view_but_neither_add_change_nor_delete(self):
        names = Permission.objects.filter(content_type__app_label="django_idempotency").values_list(
            "codename", flat=True
        )

        assert set(names) >= {"view_idempotencykey"}
        assert not set(names) & {"add_idempotencykey", "change_idempotencykey", "delete_idempotencykey"}

    @pytest.mark.parametrize(
        ("name", "length"),
        [
            ("namespace", NAMESPACE_MAX_LENGTH),
            ("scope", SCOPE_MAX_LENGTH),
            ("key", 255),
            ("method", METHOD_MAX_LENGTH),
            ("path", PATH_MAX_LENGTH),
            ("fingerprint", 64),
        ],
    )
    def test_longest_values_fit_their_columns(self, name, length):
        field = IdempotencyKey._meta.get_field(name)
        assert isinstance(field, models.CharField)
        assert field.max_length == length

        row = IdempotencyKeyFactory.create(**{name: "x" * length})
        row.refresh_from_db()

        assert getattr(row, name) == "x" * length


class TestNames:
    def test_rows_are_called_by_what_people_know_of_them(self):
        assert str(IdempotencyKey(key="key")) == "key"
        assert str(IdempotentRun(pk=UUID(int=7))) == str(UUID(int=7))
        assert str(IdempotentStep(name="charge")) == "charge"


@pytest.mark.django_db
class TestColumns:
    @pytest.mark.parametrize(
        "limit",
        [
            pytest.param(None, marks=pytest.mark.engine("postgresql")),
            pytest.param(SCOPE_MAX_LENGTH, marks=pytest.mark.engine("mariadb")),
        ],
    )
    def test_texts_are_limited_where_the_database_asks_for_it(self, limit):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT character_maximum_length FROM information_schema.columns "
                "WHERE table_name = %s AND column_name = 'scope'",
                [IdempotencyKey._meta.db_table],
            )
            assert {found for (found,) in cursor.fetchall()} == {limit}
