"""Views with one planted mistake each, and the effects by which it shows."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from django_idempotency.decorators import idempotent
from tests.app.models import Account, Effect


def done(status: int = 201) -> HttpResponse:
    """Return an answer that no other one equals."""
    return JsonResponse({"id": str(uuid.uuid4())}, status=status)


def charge(label: str = "charged", using: str = "default") -> None:
    Effect.objects.using(using).create(label=label)


def right(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        charge()
        account = Account.objects.select_for_update().get()
        account.balance -= 100
        account.save()
    return done()


@idempotent
def writes_on_another_alias(request: HttpRequest) -> HttpResponse:
    charge()
    charge(using="other")
    return done()


@idempotent
def writes_in_an_on_commit_hook(request: HttpRequest) -> HttpResponse:
    transaction.on_commit(charge)
    return done()


@idempotent
def sends_mail(request: HttpRequest) -> HttpResponse:
    charge()
    EmailBackend().send_messages([mail.EmailMessage("Charged", "You were.", "shop@example.com", ["you@example.com"])])
    return done()


@idempotent
def sends_mail_in_an_on_commit_hook(request: HttpRequest) -> HttpResponse:
    charge()
    message = mail.EmailMessage("Charged", "You were.", "shop@example.com", ["you@example.com"])
    transaction.on_commit(lambda: EmailBackend().send_messages([message]))
    return done()


@idempotent
def writes_in_a_thread(request: HttpRequest) -> HttpResponse:
    threading.Thread(target=charge, name="audit").start()
    return done()


@idempotent
def waits_for_a_thread_on_another_alias(request: HttpRequest) -> HttpResponse:
    charge()
    thread = threading.Thread(target=charge, kwargs={"using": "other"}, name="audit")
    thread.start()
    thread.join()
    return done()


@idempotent
def swallows_an_exception(request: HttpRequest) -> HttpResponse:
    try:
        with transaction.atomic():
            charge()
    except Exception:  # noqa: BLE001 - the mistake
        return done(202)
    return done(202)


@idempotent
def commits_in_the_middle(request: HttpRequest) -> HttpResponse:
    charge()
    with connection.cursor() as cursor:
        cursor.execute("COMMIT")
        cursor.execute("BEGIN")
    return done()


@idempotent(using="other")
def keeps_its_key_elsewhere(request: HttpRequest) -> HttpResponse:
    charge()
    return done()


@idempotent
def writes_on_a_connection_of_its_own(request: HttpRequest) -> HttpResponse:
    own = connections["other"].copy()
    try:
        with own.cursor() as cursor:
            cursor.execute("INSERT INTO app_effect (label, created) VALUES ('own', CURRENT_TIMESTAMP)")
    finally:
        own.close()
    return done()


def unguarded(request: HttpRequest) -> HttpResponse:
    charge()
    return done()


MAIL = "mail"
EFFECTS: dict[str, Callable[[], Any]] = {
    "charges": Effect.objects.all,
    "charges elsewhere": lambda: Effect.objects.using("other"),
    MAIL: lambda: mail.outbox,
}
# What the message must say of each.
MISTAKES: dict[Callable[..., HttpResponse], str] = {
    writes_on_another_alias: "is a write on the alias 'other', the key is on 'default'",
    writes_in_an_on_commit_hook: "is written in an on_commit hook",
    sends_mail: "an outside call",
    sends_mail_in_an_on_commit_hook: "mail changed in an on_commit hook",
    writes_in_a_thread: "in the thread 'audit'",
    waits_for_a_thread_on_another_alias: "in the thread 'audit'",
    swallows_an_exception: "an exception was swallowed",
    commits_in_the_middle: "ends a transaction in the middle of the request",
    keeps_its_key_elsewhere: "is a write on the alias 'default', the key is on 'other'",
    writes_on_a_connection_of_its_own: "the key is on 'default'",
    unguarded: "took effect twice",
}
