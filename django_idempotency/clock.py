"""The one clock that leases are told by: the database's, which all workers share."""

from __future__ import annotations

from typing import Any

from django.db.models.functions import Now


class DatabaseTime(Now):
    """The time at the moment of the statement, by the database's clock."""

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Ask for UTC, as Django stores times: CURRENT_TIMESTAMP is in the server's own time zone."""
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)
