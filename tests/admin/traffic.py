"""A month of an API's life, as the admin shows it."""

import json
import math
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from django.contrib.auth.models import User

from django_idempotency.models import IdempotencyKey
from tests.admin.factories import KeyFactory

BINARY = bytes(range(256)) * 4


def generate(now: datetime, users: list[User], *, keys: int = 2_500, seed: int = 1) -> list[IdempotencyKey]:
    """Store *keys* that were made in the month before *now*: more by day than by night, and most of late."""
    random = Random(seed)
    rows: list[IdempotencyKey] = []
    while len(rows) < keys:
        age = random.uniform(0, 1) if random.random() < 0.15 else random.uniform(0, 30)
        created = now - timedelta(days=age)
        if random.random() > (0.55 + 0.45 * math.sin((created.hour - 8) / 24 * math.tau)) * (1 - age / 60):
            continue
        rows.append(_key(random, users, created))
    return IdempotencyKey.objects.bulk_create(rows)


def _key(random: Random, users: list[User], created: datetime) -> IdempotencyKey:
    user = random.choice([*users, *users, None])
    number = random.randrange(1000, 9999)
    path, body, content_type = random.choice(
        [
            ("/charges/", _charge(number), "application/json"),
            ("/charges/", _charge(number), "application/json"),
            (f"/orders/{number}/", _charge(number), "application/json"),
            ("/receipts/", BINARY, "image/png"),
            ("/transfers/", b"<p>Done.</p>", "text/html; charset=utf-8"),
        ]
    )
    status = random.choices([201, 200, 302, 402, 404, 502], weights=[70, 12, 4, 9, 3, 2])[0]
    return KeyFactory.build(
        scope="anonymous" if user is None else f"user:{user.pk}",
        key=str(UUID(int=random.getrandbits(128), version=4)),
        method="PATCH" if path.startswith("/orders") else "POST",
        path=path,
        status=status,
        headers=[["Content-Type", content_type], ["Location", f"/charges/{number}/"]],
        fingerprint=f"{random.getrandbits(256):064x}",
        body=None if random.random() < 0.04 else body,
        created=created,
        completed=created + timedelta(milliseconds=random.randrange(8, 400)),
        expires=created + timedelta(hours=24),
    )


def _charge(number: int) -> bytes:
    charge = {
        "id": number,
        "account": 31,
        "amount": "4.20",
        "currency": "EUR",
        "description": "Coffee",
        "lines": [{"item": "Espresso", "quantity": 2, "price": "2.10"}],
    }
    return json.dumps(charge).encode()
