"""Sessions are ended for real, and it is told when they are not."""

import os
import signal

import pytest
from django.db import connection

from django_idempotency.testing.sessions import Sessions
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def another():
    """Yield a connection that is not the test's own."""
    other = connection.copy()
    other.inc_thread_sharing()
    try:
        yield other
    finally:
        other.close()


class TestSessions:
    def test_connection_that_has_none_loses_none(self, another):
        with Sessions(["default"]) as sessions:
            sessions.lose([another])

        assert another.connection is None

    def test_connection_of_an_alias_that_was_not_named_is_closed(self, another):
        another.ensure_connection()
        try:
            with Sessions([]) as sessions:
                sessions.lose([another])

            with pytest.raises(another.Database.Error):
                another.connection.cursor().execute("SELECT 1")
        finally:
            another.connection = None  # There is nothing to close any more.

    def test_failure_to_end_one_is_raised(self, another):
        another.ensure_connection()
        another.connection.close()

        try:
            with Sessions(["default"]) as sessions, pytest.raises(another.Database.Error):
                sessions.lose([another])
        finally:
            another.connection = None  # There is nothing to close any more.

    @pytest.mark.engine("postgresql")
    def test_session_that_does_not_end_is_told(self, another):
        another.ensure_connection()
        pid = another.connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with Sessions(["default"], timeout=0.1) as sessions, pytest.raises(TimeoutError, match=f"session {pid}"):
                sessions.lose([another])
        finally:
            os.kill(pid, signal.SIGCONT)

    @pytest.mark.engine("sqlite")
    def test_lock_that_is_left_is_no_error(self, another):
        with Sessions(["default"]) as sessions:
            with another.cursor() as cursor:
                cursor.execute("BEGIN IMMEDIATE")
            sessions.settle()
            another.close()
            sessions.settle()

        assert not Effect.objects.exists()
