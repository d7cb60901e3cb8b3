"""Take up operations of several steps that nobody is at."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from django_idempotency.resume import as_sentence, resume


class Command(BaseCommand):
    """The command."""

    help = (
        "Takes up operations of several steps whose worker has died or failed. A request that was kept "
        "(keep_request=True) is sent again; a job or a message's handler (keep_arguments=True) is called in this "
        "process. What is not kept is left to its client, queue or broker. Run it every minute or so; several may run "
        "at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", choices=tuple(settings.DATABASES), help="alias (the one that keys go to)")
        parser.add_argument(
            "--max-attempts", type=_count, default=5, help="take an operation up so often, then fail it (5)"
        )
        parser.add_argument("--max-operations", type=_count, help="take up so many operations at most")

    def handle(self, *, database: str | None, max_attempts: int, max_operations: int | None, **options: Any) -> None:
        resumed = resume(using=database, max_attempts=max_attempts, max_operations=max_operations)
        if options["verbosity"]:
            self.stdout.write(as_sentence(resumed))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number, 1 or more, not {text!r}")
    return int(text)
