"""The shop's workers: each job is a process of its own, forked from one that has loaded the project.

As a module, with the path of a socket as its argument, it is that one. A job is a line of JSON that names a function
below, and its arguments. Its process answers with lines of JSON: its id, the place where it is about to end, and what
the function returned. Who was killed says nothing more.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from datetime import timedelta
from io import StringIO
from socketserver import ForkingMixIn, StreamRequestHandler, UnixStreamServer
from typing import Any

from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.utils import timezone

# Only what hangs takes so long.
PATIENCE = 180.0


class Job(StreamRequestHandler):
    """One job, in a process of its own."""

    def handle(self) -> None:
        self.tell(pid=os.getpid())
        job = json.loads(self.rfile.readline())
        fuse = job.pop("fuse")
        try:
            self.tell(answer=self.work(fuse, JOBS[job.pop("name")], job))
        except BaseException:  # noqa: BLE001 - the test is told, and fails
            self.tell(error=traceback.format_exc())

    def work(self, settings: dict[str, Any] | None, function: Any, arguments: dict[str, Any]) -> Any:
        if settings is None:
            return function(**arguments)
        from tests.checkout.fuse import Fuse, armed

        fuse = Fuse(tell=lambda place: self.tell(place=place), **settings)
        with armed(fuse):
            answer = function(**arguments)
        return {**answer, "places": fuse.places}

    def tell(self, **message: Any) -> None:
        self.wfile.write(json.dumps(message).encode() + b"\n")


class Workers(ForkingMixIn, UnixStreamServer):
    """Forks a process for each connection."""

    max_children = 100
    request_queue_size = 100


def stock(names: list[str], quantity: int) -> None:
    """Have some of each of these items."""
    from example_project.shop.models import Item

    Item.objects.bulk_create(Item(name=name, price="4.20", stock=quantity) for name in names)


def post(path: str, key: str, data: dict[str, Any], token: str) -> dict[str, Any]:
    """Send a request, as a client does."""
    from django.test import Client

    from django_idempotency.exceptions import OutcomeUncertain

    client = Client(headers={"host": "localhost", "authorization": f"Token {token}"})
    response = client.post(path, data, content_type="application/json", headers={"Idempotency-Key": key})
    return {
        "status": response.status_code,
        "body": response.content.decode(),
        "is_uncertain": str(OutcomeUncertain()) in response.content.decode(),
        "is_replay": "Idempotent-Replayed" in response.headers,
        "is_to_wait": "Retry-After" in response.headers,
    }


def insist(**arguments: Any) -> dict[str, Any]:
    """Send a request again and again until it is answered, or a person has to say what has happened."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = post(**arguments)
        if answer["is_uncertain"] or not answer["is_to_wait"] or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


def customer() -> str:
    """Return the token of somebody who may buy."""
    from example_project.demo.people import make_customers

    return make_customers()[0].token


def resume(operations: int) -> str:
    """Take up so many of the operations that others have left."""
    from django.core.management import call_command

    output = StringIO()
    call_command("resume_idempotent_operations", max_operations=operations, stdout=output)
    return output.getvalue()


def expire(keys: list[str]) -> None:
    """Let the leases of these operations run out, as time would."""
    from django_idempotency.models import IdempotentRun

    past = timezone.now() - timedelta(days=1)
    IdempotentRun.objects.unfinished().filter(key__key__in=keys).update(lease_until=past)


def unfinished(keys: list[str]) -> list[str]:
    """Return those of these keys whose operations have begun and not ended."""
    from django_idempotency.models import IdempotentRun

    found = IdempotentRun.objects.unfinished().filter(key__key__in=keys)
    return list(found.values_list("key__key", flat=True))


def uncertain(keys: list[str]) -> list[str]:
    """Return those of these keys whose operations are listed as uncertain."""
    from django_idempotency.models import IdempotentRun

    found = IdempotentRun.objects.uncertain().filter(key__key__in=keys)
    return list(found.values_list("key__key", flat=True))


def settle(results: dict[str, Any]) -> None:
    """Say in the admin what has become of the held call of each of these keys: what it returned, or None."""
    from django.contrib.auth.models import User
    from django.test import Client

    from django_idempotency.models import IdempotentStep

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get_or_create(username="root", is_staff=True, is_superuser=True)[0])
    for key, result in results.items():
        step = IdempotentStep.objects.uncertain().get(run__key__key=key)
        page = f"/admin/django_idempotency/idempotencykey/{step.run.key_id}/settle/{step.pk}/"
        answer = {"outcome": "no"} if result is None else {"outcome": "yes", "result": json.dumps(result)}
        assert client.post(page, answer).status_code == 302


def bought(items: list[str]) -> dict[str, dict[str, Any]]:
    """Return, for each of these items, what was ordered and what is left."""
    from example_project.shop.models import Item

    found = Item.objects.filter(name__in=items).prefetch_related("orders__receipts")
    return {
        item.name: {
            "stock": item.stock,
            "orders": {order.reference: order.state for order in item.orders.all()},
            "receipts": sum(len(order.receipts.all()) for order in item.orders.all()),
        }
        for item in found
    }


JOBS = {
    function.__name__: function
    for function in (stock, post, insist, resume, expire, unfinished, uncertain, settle, bought)
}


def warm_up() -> str:
    """Do once what each job would have to do anew, for it leaves a process cold; return a customer's token."""
    get_wsgi_application()
    token = customer()
    nothing = {"item": "nothing", "quantity": 1, "email": "ada@example.com", "card": "tok_visa"}
    assert post("/shop/checkouts/", "warm-up", nothing, token)["status"] == 400
    connections.close_all()  # A connection can't be shared by two processes.
    gc.freeze()  # Else each job's process soon has copies of all that it shares with this one.
    return token


if __name__ == "__main__":
    token = warm_up()
    with Workers(sys.argv[1], Job) as server:
        sys.stdout.write(f"{token}\n")
        sys.stdout.flush()
        server.serve_forever()
