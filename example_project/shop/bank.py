"""The shop's line to the bank."""

import json
import logging
from collections.abc import Collection
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from rest_framework.exceptions import APIException

TIMEOUT = 10  # seconds

logger = logging.getLogger(__name__)


class BankError(APIException):
    """The bank gave no answer, or none that says what became of the call: it may have happened, or not.

    The client is told to come again, and goes on from what is recorded.
    """

    status_code = 503
    default_detail = "The bank does not answer. Send the same request again."
    wait = 1  # second


def charge_card(reference: str, total: str, card: str, *, key: str) -> dict[str, Any]:
    """Charge a card. The same key charges once, however often this is called.

    Raises: BankError.
    """
    return send("POST", "/charges/cards/", {"reference": reference, "amount": total, "card": card}, key, {201, 402})


def refund(charge_id: int, *, key: str) -> dict[str, Any]:
    """Give a charge back. The same key refunds once, however often this is called.

    Raises: BankError.
    """
    return send("POST", f"/charges/{charge_id}/refunds/", {}, key, {201})


def charge_wire(reference: str, total: str) -> dict[str, Any]:
    """Take money by wire: each time that this is called. The bank's wires know no keys.

    Raises: BankError.
    """
    return send("POST", "/charges/wires/", {"reference": reference, "amount": total}, None, {201})


def find(reference: str) -> list[dict[str, Any]]:
    """Return what was charged for *reference*.

    Raises: BankError.
    """
    found: list[dict[str, Any]] = send("GET", f"/charges/?reference={quote(reference)}", None, None, {200})["charges"]
    return found


def send(method: str, path: str, data: object, key: str | None, answers: Collection[int]) -> dict[str, Any]:
    """Send one request; return the bank's answer, if its status is one of *answers*.

    Raises: BankError.
    """
    headers = {"Authorization": f"Bearer {settings.BANK_TOKEN}", "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    line = HTTPConnection(urlsplit(settings.BANK_URL).netloc, timeout=TIMEOUT)
    try:
        line.request(method, path, None if data is None else json.dumps(data), headers)
        response = line.getresponse()
        text = response.read()
    except (OSError, HTTPException) as exc:
        logger.warning("No answer from %s: is the bank running?", settings.BANK_URL)
        raise BankError from exc
    finally:
        line.close()
    if response.status not in answers:
        logger.warning("%s from the bank: %s", response.status, text.decode(errors="replace"))
        raise BankError
    answer: dict[str, Any] = json.loads(text)
    return answer
