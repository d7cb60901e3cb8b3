"""What happens, as those who watch are told."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from django_idempotency import signals

EVENTS = ("executed", "replayed", "refused", "expired", "purged")


class Events(list[dict[str, Any]]):
    """All events since the test began, in order."""

    @property
    def names(self) -> list[str]:
        return [event["name"] for event in self]


@pytest.fixture
def events() -> Iterator[Events]:
    """Return the events as they come in."""
    events = Events()
    receivers = {}
    for name in EVENTS:

        def receive(sender: Any, signal: Any, name: str = name, **arguments: Any) -> None:
            events.append({"name": name, "in_transaction": connection.in_atomic_block, **arguments})

        receivers[name] = receive
        getattr(signals, name).connect(receive)
    yield events
    for name, receive in receivers.items():
        getattr(signals, name).disconnect(receive)
