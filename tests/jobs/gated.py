"""Run a command of the example project, and stop where an order is placed: `python -m tests.jobs.gated consume_orders`.

INSIDE names a gate before the commit, AFTER one between the commit and the acknowledgement.
"""

import os
import sys
from typing import Any

import django
from django.core.management import execute_from_command_line
from django.db import transaction
from django.db.models.signals import post_save

from tests.gate import pass_gate


def stop(**_: Any) -> None:
    """Stop at the gates that the environment names."""
    if path := os.environ.get("INSIDE"):
        pass_gate(path)
    if path := os.environ.get("AFTER"):
        transaction.on_commit(lambda: pass_gate(path))


if __name__ == "__main__":
    django.setup()
    post_save.connect(stop, sender="payments.Order")
    execute_from_command_line(sys.argv)
