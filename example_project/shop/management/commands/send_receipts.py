"""Send the receipts that wait in the outbox."""

from typing import Any

from django.core.management.base import BaseCommand

from example_project.shop import services


class Command(BaseCommand):
    """The command."""

    help = "Sends the receipts that wait in the outbox. It may run beside itself, and be interrupted at any moment."

    def handle(self, **_: Any) -> None:
        sent = 0
        while services.send_next_receipt():
            sent += 1
        self.stdout.write(f"{sent} sent.")
