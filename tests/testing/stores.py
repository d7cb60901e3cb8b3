"""Ways to remember keys that are wrong, each in one respect: what people write who have no package."""

import json
from collections.abc import Callable
from functools import wraps

from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from tests.app.models import Effect
from tests.testing.mistakes import charge, done

View = Callable[[HttpRequest], HttpResponse]
# Where they keep a key: as the label of a row in a table that is at hand, on the same database.
KEYS = "key:"


def view(request: HttpRequest) -> HttpResponse:
    charge()
    return done()


def remember(key: str, response: HttpResponse) -> None:
    Effect.objects.create(label=KEYS + key + "=" + response.content.decode())


def recall(key: str) -> HttpResponse | None:
    row = Effect.objects.filter(label__startswith=f"{KEYS}{key}=").first()
    return None if row is None else JsonResponse(json.loads(row.label.partition("=")[2]), status=201)


def charges() -> int:
    """Return how many effects there are, without the keys."""
    return Effect.objects.exclude(label__startswith=KEYS).count()


def keyed(store: Callable[[str, HttpRequest], HttpResponse]) -> View:
    """Make a view of what is given the key."""

    @wraps(store)
    def guarded(request: HttpRequest) -> HttpResponse:
        key = request.headers.get("Idempotency-Key", "")
        return store(key, request)

    return guarded


@keyed
def remembers_after_the_effects(key: str, request: HttpRequest) -> HttpResponse:
    if (known := recall(key)) is not None:
        return known
    with transaction.atomic():
        response = view(request)
    remember(key, response)
    return response


@keyed
def remembers_before_the_effects(key: str, request: HttpRequest) -> HttpResponse:
    if (known := recall(key)) is not None:
        return known
    response = done()
    remember(key, response)
    with transaction.atomic():
        charge()
    return response


@keyed
def remembers_in_an_on_commit_hook(key: str, request: HttpRequest) -> HttpResponse:
    if (known := recall(key)) is not None:
        return known
    with transaction.atomic():
        response = view(request)
        transaction.on_commit(lambda: remember(key, response))
    return response


@keyed
def remembers_in_the_cache(key: str, request: HttpRequest) -> HttpResponse:
    if (known := cache.get(key)) is not None:
        return JsonResponse(json.loads(known), status=201)
    with transaction.atomic():
        response = view(request)
    cache.set(key, response.getvalue())
    return response


@keyed
def locks_in_the_cache(key: str, request: HttpRequest) -> HttpResponse:
    """Lock, in a way that the dead do not give back."""
    if not cache.add(key, "running"):
        if (known := cache.get(key)) == "running":
            return JsonResponse({"detail": "in progress"}, status=409)
        return JsonResponse(json.loads(known), status=201)
    with transaction.atomic():
        response = view(request)
    cache.set(key, response.getvalue())
    return response


@keyed
def remembers_no_answer(key: str, request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        if recall(key) is None:
            remember(key, view(request))
    return done()


# What the message must say of each.
DEADLY: dict[View, str] = {
    remembers_after_the_effects: "charges: 2 instead of 1",
    remembers_before_the_effects: "charges: 0 instead of 1",
    remembers_in_an_on_commit_hook: "is written in an on_commit hook",
    remembers_in_the_cache: "charges: 2 instead of 1",
    locks_in_the_cache: "charges: 0 instead of 1",
    remembers_no_answer: "was not answered the same: another body",
}


@keyed
def reads_then_writes(key: str, request: HttpRequest) -> HttpResponse:
    """Keep all in one transaction, and let everybody in."""
    known = recall(key)
    if known is not None:
        return known
    with transaction.atomic():
        response = view(request)
        remember(key, response)
    return response


@keyed
def answers_losers_anew(key: str, request: HttpRequest) -> HttpResponse:
    """Let one of them take effect, and make up an answer for the others."""
    if (known := recall(key)) is not None:
        return known
    response = done()
    try:
        with transaction.atomic():
            claim_number(key)
            charge()
            remember(key, response)
    except IntegrityError:
        return done()
    return response


def claim_number(key: str) -> None:
    """Insert a row whose primary key is made of the key."""
    Effect.objects.bulk_create([Effect(pk=1_000_000 + sum(key.encode()), label=f"{KEYS}claim")])


RACY = [reads_then_writes, answers_losers_anew]


@keyed
def remembers_with_the_effects(key: str, request: HttpRequest) -> HttpResponse:
    """Do it as one should."""
    try:
        with transaction.atomic():
            claim_number(key)
            response = view(request)
            remember(key, response)
    except IntegrityError:
        return recall(key) or JsonResponse({"detail": "in progress"}, status=409)
    return response
