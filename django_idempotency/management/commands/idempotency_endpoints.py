"""List the guarded endpoints, and find those that are not."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_idempotency.endpoints import as_json, as_markdown, as_table, endpoints

FORMATS: Final = {"table": as_table, "markdown": as_markdown, "json": as_json}
COMPLAINT: Final = "These take effect again each time they are sent:"
ADVICE: Final = (
    "Guard them by @idempotent or IdempotencyMixin, mark them by @idempotency_exempt, or name their namespace or path "
    "by --exempt. A function takes every method that @require_http_methods does not keep away."
)


class Command(BaseCommand):
    help = "Lists every endpoint that is guarded by idempotency keys; with --check, fails when others should be."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=FORMATS, default="table", help="how to list them (table)")
        parser.add_argument(
            "--check",
            action="store_true",
            help="end with status 1 when a view takes POST or PATCH and is neither guarded nor exempt",
        )
        parser.add_argument(
            "--exempt",
            action="append",
            default=[],
            metavar="PLACE",
            help="with --check: a namespace, such as admin, or the beginning of a path, such as /static/, that needs "
            "no keys; may be repeated. Your own views are marked by @idempotency_exempt",
        )

    def handle(self, **options: Any) -> None:
        found = endpoints(exempt=options["exempt"])
        self.stdout.write(FORMATS[options["format"]](found))
        lacking = [endpoint for endpoint in found if endpoint.lacks_keys]
        if options["check"] and lacking:
            places = groupby(lacking, key=lambda endpoint: f"{endpoint.path}  {endpoint.view}")
            lines = [f"  {' '.join(each.method for each in group):<10}  {place}" for place, group in places]
            raise CommandError("\n".join([COMPLAINT, *lines, ADVICE]), returncode=1)
