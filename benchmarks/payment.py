"""The request that every side answers; `payments.lua` spells it, too."""

from __future__ import annotations

import json


def payment(key: str) -> bytes:
    """Return a body that belongs to *key* alone."""
    return json.dumps({"account": 4711, "amount": "4.20", "currency": "EUR", "reference": f"order {key}"}).encode()
