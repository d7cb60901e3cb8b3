"""Show what idempotency keys are for: a lossy client against a real server."""

import signal
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from example_project.demo.client import GaveUpError, LossyClient
from example_project.demo.people import ADMIN, Customer, make_admin, make_customers, open_accounts
from example_project.demo.progress import Progress
from example_project.demo.run import Result, run
from example_project.demo.server import HOST, Server, ServerError
from example_project.demo.table import table
from example_project.demo.traffic import Purchase, purchases
from example_project.payments.models import Account

PATHS = {"without keys": "/demo/unguarded-charges/", "with keys": "/charges/"}


class Command(BaseCommand):
    """The command."""

    help = (
        "Migrates, makes a superuser, starts a server, and sends it the same traffic twice over a "
        "line that loses answers: to a view that ignores idempotency keys, and to one that honours "
        "them. Then goes on serving."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--charges", type=positive, default=200, help="purchases in each run (200)")
        parser.add_argument("--port", type=int, default=8000, help="port of the server on 127.0.0.1 (8000)")
        parser.add_argument("--workers", type=positive, default=3, help="server processes (3)")
        parser.add_argument("--seed", type=int, default=1, help="the same seed plans the same traffic (1)")
        parser.add_argument(
            "--exit",
            action="store_true",
            help="end after the table, with status 1 if keys let a charge run twice or go missing",
        )

    def handle(self, **options: Any) -> None:
        for end in (signal.SIGTERM, signal.SIGHUP):  # A closed terminal must not leave a server behind,
            if signal.getsignal(end) is signal.SIG_DFL:  # but nohup may.
                signal.signal(end, signal.default_int_handler)
        try:
            self.demonstrate(**options)
        except ServerError as exc:
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt:
            self.stdout.write("\nInterrupted.")
            sys.exit(130)

    def demonstrate(self, *, charges: int, port: int, workers: int, seed: int, **options: Any) -> None:
        """Run the whole demo."""
        self.say(f"Migrating {connection.vendor} database {settings.DATABASES['default']['NAME']} …")
        call_command("migrate", verbosity=0, interactive=False)
        password, customers = make_admin(), make_customers()
        self.say(f"Superuser: {ADMIN}, password: {password}")
        with (
            tempfile.TemporaryDirectory() as directory,
            Server(port=port, workers=workers, directory=Path(directory)) as server,
        ):
            self.say(f"Serving on {server.url} by {workers} processes.")
            self.say(f"Sending {charges} purchases (seed {seed}) over a line that loses answers, twice:")
            results = self.compare(server, customers, purchases(seed=seed, count=charges, customers=len(customers)))
            self.say(f"\n{table(*results.values())}\n")
            exact = self.judge(results["with keys"])
            if not options["exit"]:
                self.invite(server, password, customers[0])
                self.serve(server)
        if not exact:
            sys.exit(1)

    def compare(self, server: Server, customers: list[Customer], plan: list[Purchase]) -> dict[str, Result]:
        """Send the same traffic to each address, from fresh accounts."""
        results = {}
        for label, path in PATHS.items():
            accounts = open_accounts(label)
            client = LossyClient(
                host=HOST,
                port=server.port,
                path=path,
                tokens=[customer.token for customer in customers],
                accounts=[account.pk for account in accounts],
            )
            progress = Progress(self.stdout, label, len(plan))
            try:
                results[label] = run(client, plan, accounts, server.directory, progress.advance)
            except GaveUpError as exc:
                raise CommandError(f"{exc}\nThe server's log ends with\n{server.last_words()}") from exc
        return results

    def judge(self, result: Result) -> bool:
        """Say in one line whether the promise was kept."""
        if result.is_exact:
            self.say(self.style.SUCCESS("With keys, every purchase was charged exactly once."))
        else:
            self.say(self.style.ERROR("With keys, something went wrong: see the table."))
        return result.is_exact

    def invite(self, server: Server, password: str, customer: Customer) -> None:
        """Print what to open and what to try."""
        account = Account.objects.filter(owner__username=customer.name).latest("pk")
        self.say(f"""
Open
  {server.url}/admin/    as {ADMIN}, password {password}
  {server.url}/          the API, once signed in
  {server.url}/docs/     its specification
  {server.url}/metrics   what Prometheus collects
Try this twice
  curl -i {server.url}/charges/ -H 'Authorization: Token {customer.token}' \\
    -H 'Idempotency-Key: {uuid.uuid4()}' -H 'Content-Type: application/json' \\
    -d '{{"account": {account.pk}, "amount": "4.20", "description": "Coffee"}}'

Serving. Ctrl-C ends.""")

    def serve(self, server: Server) -> None:
        """Go on until Ctrl-C."""
        try:
            server.wait()
        except KeyboardInterrupt:
            self.say("\nEnded.")

    def say(self, text: str) -> None:
        """Write at once, in a log too."""
        self.stdout.write(text)
        self.stdout.flush()


def positive(text: str) -> int:
    """Read a number above zero."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number
