"""What is stored of a job's result: its JSON, or that there is none."""

from __future__ import annotations

import json
from typing import Any

from django_idempotency.exceptions import ResponseNotStored, UsageError
from django_idempotency.values import StoredResponse


class JsonResult:
    """Store a result as JSON: a duplicate gets lists where the first one had tuples, and str for other keys."""

    def dump(self, value: Any, /) -> StoredResponse:
        """Return the result's JSON.

        Raises:
            UsageError: JSON has nothing for it.
        """
        try:
            return StoredResponse(body=json.dumps(value, allow_nan=False).encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"The job's result cannot be stored ({error}), so that its writes are rolled back. Return what JSON "
                f'has, such as str(amount) for a Decimal, or have no result stored: on_duplicate="skip".'
            ) from error

    def load(self, stored: StoredResponse, /) -> Any:
        """Return what the JSON stands for.

        Raises:
            ResponseNotStored: The job was told to store none when it ran.
        """
        if not stored.body:
            raise ResponseNotStored
        return json.loads(stored.body)


class NoResult:
    """Store no result, only that it is done."""

    def dump(self, _value: Any, /) -> StoredResponse:
        """Return what is stored of any result: nothing."""
        return StoredResponse()

    def load(self, _stored: StoredResponse, /) -> None:
        """Return None, whatever the result was."""
