"""Delete expired idempotency keys."""

from __future__ import annotations

import re
import signal
import sys
import threading
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import Error

from django_idempotency import store
from django_idempotency.management.progress import describe, progress
from django_idempotency.purge import PURGE_REQUIREMENTS, Purged, count_expired, purge

_UNITS: Final = {"": "seconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION: Final = "a number of seconds, or one with s, m, h, d or w behind it, such as 7d, up to ten years"


class Command(BaseCommand):
    """The command."""

    help = (
        "Deletes expired idempotency keys in batches, each a transaction of its own, while requests go on. With "
        "IDEMPOTENCY_TOMBSTONE_TTL set, stored responses are erased at their expiry, and keys deleted so much later. "
        "Exit status: 0 when all is done or a limit is reached, 1 after an error, 130 or 143 when Ctrl-C or SIGTERM "
        "ended it between two batches."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch-size", type=_argument("batch_size", int), default=1000, help="rows in a batch (1000)"
        )
        parser.add_argument(
            "--older-than",
            type=_argument("older_than", _duration, words=_DURATION),
            default=timedelta(0),
            help="spare what expired more recently: seconds, or with a unit, such as 90m, 12h, 7d",
        )
        parser.add_argument("--max-rows", type=_argument("max_rows", int), help="end after so many rows")
        parser.add_argument("--max-seconds", type=_argument("max_seconds", float), help="end after so many seconds")
        parser.add_argument("--sleep", type=_argument("sleep", float), default=0.0, help="seconds between batches (0)")
        parser.add_argument("--database", choices=tuple(settings.DATABASES), help="alias (the one that keys go to)")
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(
        self, *, database: str | None, dry_run: bool, older_than: timedelta, max_rows: int | None, **options: Any
    ) -> None:
        if options["verbosity"] == 0:
            self.stdout = OutputWrapper(StringIO())
        alias = database or store.database()
        limits = {name: options[name] for name in ("batch_size", "max_seconds", "sleep")}
        state = Purged()

        def note(purged: Purged) -> None:
            nonlocal state
            state = purged
            show(purged)

        def count() -> int:
            rows = count_expired(using=alias, older_than=older_than).rows
            return rows if max_rows is None else min(rows, max_rows)

        try:
            if dry_run:
                expired = count_expired(using=alias, older_than=older_than)
                self.say(f"On {alias!r}, {expired.deleted:,} would be deleted, {expired.erased:,} erased.")
                return
            self.say(f"Purging on {alias!r} …")
            with _signals() as received, progress(self.stdout, total=count) as show:
                state = purge(
                    using=alias,
                    older_than=older_than,
                    max_rows=max_rows,
                    on_batch=note,
                    should_stop=lambda: bool(received),
                    **limits,
                )
        except Error as error:
            raise CommandError(f"The database {alias!r} failed after {describe(state)}: {error}") from error
        if received and not state.finished:
            self.say(f"{received[0].name} ended it: {describe(state)}")
            sys.exit(128 + received[0])
        self.say(f"{'Done' if state.finished else 'More is left'}: {describe(state)}")

    def say(self, text: str) -> None:
        """Write at once, in a log too."""
        self.stdout.write(text)
        self.stdout.flush()


@contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """Yield what collects Ctrl-C and SIGTERM; the second one of a kind acts as if nobody listened."""
    received: list[signal.Signals] = []

    def receive(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signals call it
        received.append(signal.Signals(number))
        signal.signal(number, handlers[received[-1]])

    if threading.current_thread() is not threading.main_thread():
        yield received  # Only the main thread may listen.
        return
    handlers = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _argument(name: str, read: Callable[[str], Any], *, words: str | None = None) -> Callable[[str], Any]:
    requirement = PURGE_REQUIREMENTS[name]
    message = f"must be {words or requirement.words}, not "

    def parse(text: str) -> Any:
        try:
            value = read(text)
        except (ValueError, OverflowError) as error:
            raise ArgumentTypeError(message + repr(text)) from error
        if not requirement.accepts(value):
            raise ArgumentTypeError(message + repr(text))
        return value

    return parse


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if match is None:
        raise ValueError(text)
    return timedelta(**{_UNITS[match[2]]: float(match[1])})
