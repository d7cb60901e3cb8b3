"""What a request does, as numbers and rows that can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any, TypeAlias

from django.db import connections
from django.db.models import QuerySet

from django_idempotency.exceptions import UsageError

# A queryset: its rows are counted, or, after values() and values_list(), compared. A collection, such as mail.outbox:
# it is measured, a Counter by its counts. A callable: what it returns.
Effect: TypeAlias = "QuerySet[Any, Any] | Sized | Callable[[], object]"
Effects: TypeAlias = "QuerySet[Any, Any] | Callable[[], object] | Sequence[Effect] | Mapping[str, Effect]"


class Gauge:
    """One effect. What it counts, it counts from `start()`; so memory need not be emptied between runs."""

    def __init__(self, name: str, effect: Effect) -> None:
        self.name = name
        self.reads: list[tuple[str, str]] = []
        """The SQL that it takes to read it, each with its alias; none for what is in memory."""
        self._read = _reader(name, effect)
        with _noting(self.reads):
            self._start = self._read()

    def start(self) -> None:
        """Count from here."""
        self._start = self._read()

    def amount(self) -> object:
        """Return what came since the start; or what is there, of what cannot be counted."""
        return _minus(self._read(), self._start)

    @property
    def is_untouched(self) -> bool:
        """Whether all is as it was at the start."""
        return self._read() == self._start


def gauges_of(effects: Effects) -> list[Gauge]:
    """Return a gauge for each effect.

    Raises:
        UsageError: There is none, or one is not of a kind that can be compared.
    """
    if isinstance(effects, Mapping):
        named = dict(effects)
    elif isinstance(effects, list | tuple):
        named = {}
        for number, effect in enumerate(effects, start=1):
            name = _name(effect) or f"effect {number}"
            named[name if name not in named else f"{name} ({number})"] = effect
    else:
        named = {_name(effects) or "effect": effects}
    if not named:
        raise UsageError("effects is empty, so that nothing could be counted. Name what the request does: a queryset.")
    return [Gauge(name, effect) for name, effect in named.items()]


def _reader(name: str, effect: Effect) -> Callable[[], object]:
    if isinstance(effect, QuerySet):
        if effect._fields is None:  # type: ignore[attr-defined]  # set by values() and values_list()
            return lambda: effect.all().count()
        return lambda: sorted(effect.all(), key=repr)
    if isinstance(effect, Counter):
        return lambda: Counter(effect)
    if callable(effect):
        return effect
    if isinstance(effect, Sized):
        return lambda: len(effect)
    raise UsageError(
        f"{name} cannot be counted: {effect!r}. Give a queryset, a collection that grows, a Counter, or a callable "
        "that returns what is to be compared."
    )


def _name(effect: object) -> str:
    if isinstance(effect, QuerySet):
        alias = "" if effect.db == "default" else f" on {effect.db!r}"
        return f"{effect.model.__name__} rows{alias}"
    name = getattr(effect, "__name__", "")
    return "" if name == "<lambda>" else name


def _minus(now: Any, start: Any) -> object:
    if isinstance(now, Counter):
        now.subtract(start)
        return {name: count for name, count in now.items() if count}
    if isinstance(now, int | float | Decimal) and not isinstance(now, bool):
        return now - start
    return now


@contextmanager
def _noting(reads: list[tuple[str, str]]) -> Iterator[None]:
    def note(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        reads.append((context["connection"].alias, str(sql)))
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(note))
        yield
