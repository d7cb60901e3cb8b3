"""What sends a request to a view, for the kit."""

from collections.abc import Callable
from typing import Any

from tests import doors


def sending(view: Callable[..., Any], **options: Any) -> Callable[[str], Any]:
    """Return the `send` that posts to *view*, by way of all middleware."""

    def send(key: str) -> Any:
        return doors.send(view, key=key, body=b'{"amount": 100}', **options)

    return send
