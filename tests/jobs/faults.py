"""A way to make a database give up a transaction, as it does with one of two that deadlock."""

from django.db import connection

GIVE_UP = {
    "postgresql": "DO $$ BEGIN RAISE EXCEPTION 'given up' USING ERRCODE = '40P01'; END $$",
    "mysql": "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'given up'",
}


def give_up() -> None:
    """Let the server report a deadlock."""
    with connection.cursor() as cursor:
        cursor.execute(GIVE_UP[connection.vendor])
