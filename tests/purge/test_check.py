"""The system check that tells when no purge has run for long."""

from datetime import timedelta

import pytest
from django.core.checks import Tags, run_checks
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_idempotency.models import IdempotencyKey
from django_idempotency.purge import purge
from tests.operations import missing_table
from tests.purge.keys import HOUR, keys

DAY = timedelta(days=1)
ID = "django_idempotency.W005"


def warnings(*databases):
    """Return what the check says of *databases*."""
    messages = run_checks(tags=[Tags.database], databases=databases or ["default"])
    return [message for message in messages if message.id == ID]


class NotHere:
    """A router that keeps the keys' table off every database."""

    def allow_migrate(self, db, app_label, **hints):
        return app_label != "django_idempotency"


@pytest.mark.django_db
class TestCheck:
    def test_warns_of_a_key_that_expired_long_ago(self):
        expired = keys(1, ago=49 * HOUR)

        [warning] = warnings()

        assert expired.isoformat(timespec="minutes") in warning.msg
        assert "purge_idempotency_keys --database default" in warning.hint

    def test_purge_ends_the_warning(self):
        keys(1, ago=49 * HOUR)
        purge()

        assert warnings() == []

    def test_does_not_warn_of_what_the_next_purge_will_find(self):
        keys(1, ago=47 * HOUR)
        keys(1, ago=-HOUR)

        assert warnings() == []

    def test_setting_says_how_late_it_may_be(self, settings):
        settings.IDEMPOTENCY_PURGE_OVERDUE = 1800
        keys(1)

        assert len(warnings()) == 1

    def test_tombstone_is_not_overdue_once_it_is_erased(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 30 * DAY
        keys(2, ago=20 * DAY)
        overdue = warnings()
        purge()

        assert len(overdue) == 1
        assert warnings() == []

    def test_tombstone_is_overdue_when_it_should_be_gone(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = DAY
        keys(1, ago=4 * DAY, body=None)

        assert len(warnings()) == 1

    @pytest.mark.django_db(databases=["default", "other"])
    def test_each_database_is_told_of_by_itself(self):
        keys(1, ago=49 * HOUR, using="other")

        assert warnings("default") == []
        assert len(warnings("default", "other")) == 1

    @pytest.mark.django_db(databases=["default", "other"])  # Django's own checks ask SQLite, on every alias.
    def test_nothing_is_asked_without_a_database(self):
        keys(1, ago=49 * HOUR)

        assert not [message for message in run_checks() if message.id == ID]

    def test_one_query_asks(self):
        keys(1, ago=49 * HOUR)

        with CaptureQueriesContext(connection) as queries:
            warnings()

        assert sum(IdempotencyKey._meta.db_table in query["sql"] for query in queries) == 1

    @pytest.mark.parametrize("name", ["IDEMPOTENCY_PURGE_OVERDUE", "IDEMPOTENCY_TOMBSTONE_TTL"])
    def test_setting_that_cannot_be_meant_is_left_to_its_own_check(self, name, settings):
        setattr(settings, name, "soon")
        keys(1, ago=49 * HOUR)

        assert warnings() == []

    def test_database_without_the_table_is_no_matter(self, settings):
        settings.DATABASE_ROUTERS = [NotHere()]
        keys(1, ago=49 * HOUR)

        assert warnings() == []


@pytest.mark.django_db(transaction=True)
class TestBeforeMigrate:
    def test_table_that_is_still_to_be_made_is_no_matter(self):
        with missing_table():
            assert warnings() == []
