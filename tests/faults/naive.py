"""Keys as they are often guarded, each wrong in one place: what a storm must find, or it would prove nothing."""

import uuid
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from django_idempotency.models import IdempotencyKey
from tests.faults.model import OUTCOMES
from tests.faults.views import pay


@transaction.atomic
def unguarded(request: HttpRequest) -> HttpResponseBase:
    """Have no keys at all."""
    return pay(request)


def recorded_afterwards(request: HttpRequest) -> HttpResponseBase:
    """Look the key up, run, and record it in a transaction of its own."""
    row = row_of(request)
    found = IdempotencyKey.objects.filter(pk=row.pk).first()
    if found is not None:
        return answer_of(found)
    with transaction.atomic():
        response = pay(request)
    complete(row, response)
    row.save(force_insert=True)
    return response


def recorded_first(request: HttpRequest) -> HttpResponseBase:
    """Commit the claim, run, and complete it afterwards."""
    row = row_of(request)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return answer_of(IdempotencyKey.objects.get(pk=row.pk))
    try:
        with transaction.atomic():
            response = pay(request)
    except Exception:
        row.delete()
        raise
    complete(row, response)
    row.save()
    return response


def row_of(request: HttpRequest) -> IdempotencyKey:
    """Return an unsaved row for the request's key."""
    user, key = request.headers["X-User"], request.headers["Idempotency-Key"].strip('"')
    digest = uuid.uuid5(uuid.NAMESPACE_URL, f"{user}/{key}")
    now = timezone.now()
    return IdempotencyKey(pk=digest, scope=user, key=key, created=now, expires=now + timedelta(days=1))


def complete(row: IdempotencyKey, response: HttpResponseBase) -> None:
    """Write the response to the row."""
    assert isinstance(response, HttpResponse)
    assert response.status_code in OUTCOMES
    row.status, row.body, row.completed = response.status_code, response.content, timezone.now()


def answer_of(row: IdempotencyKey) -> HttpResponseBase:
    """Replay, or say that it is in progress."""
    if row.completed is None:
        return HttpResponse(status=409, headers={"Retry-After": "1"})
    return HttpResponse(bytes(row.body or b""), status=row.status, headers={"Idempotent-Replayed": "true"})
