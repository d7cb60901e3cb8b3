"""A client on a bad line: it asks again, with the same key, until an answer comes.

Copy the shape of `LossyClient.buy` and `LossyClient.until_answered`; the losses are the demo's.
"""

import http.client
import json
import random
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, count, repeat

from example_project.demo.traffic import Fate, Purchase

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
ATTEMPTS = 60
TIMEOUT = 60  # seconds


class NoAnswerError(Exception):
    """The answer was lost, or never came: the request may have run, or not."""


class GaveUpError(Exception):
    """No answer, or one that no retry can mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said."""

    status: int
    replayed: bool
    retry_after: float | None
    data: dict[str, object]

    @property
    def is_final(self) -> bool:
        """Tell whether asking again is of no use.

        A 409 with Retry-After says that the first request is still running.
        """
        busy = self.status == http.HTTPStatus.CONFLICT and self.retry_after is not None
        return not busy and self.status not in TRY_AGAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """How one click went."""

    charge: object
    sent: int
    lost: int
    told_to_wait: int
    server_errors: int
    replayed: bool


class LossyClient:
    """Buys things over a line that loses answers."""

    def __init__(self, *, host: str, port: int, path: str, tokens: list[str], accounts: list[int]) -> None:
        self.host = host
        self.port = port
        self.path = path
        self.tokens = tokens
        self.accounts = accounts

    def buy(self, purchase: Purchase) -> list[Receipt]:
        """Pay for one purchase, by one click or by two at once; return a receipt for each.

        The key is made here, once for each purchase, outside of everything that is tried again.
        """
        key = str(uuid.uuid4())
        with ThreadPoolExecutor(len(purchase.clicks)) as fingers:
            clicks = [fingers.submit(self.until_answered, purchase, key, fates) for fates in purchase.clicks]
            return [click.result() for click in clicks]

    def until_answered(self, purchase: Purchase, key: str, fates: tuple[Fate, ...]) -> Receipt:
        """Send one request again and again, until its answer comes.

        Raises: GaveUpError.
        """
        lost = told_to_wait = server_errors = 0
        for sent, fate, pause in zip(range(1, ATTEMPTS), chain(fates, repeat(Fate.ARRIVES)), pauses(), strict=False):
            try:
                answer = self.send(purchase, key, fate)
            except NoAnswerError:
                lost += 1
                time.sleep(pause)
                continue
            if not answer.is_final:
                told_to_wait += answer.status == http.HTTPStatus.CONFLICT
                server_errors += answer.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
                time.sleep(answer.retry_after or pause)
                continue
            if answer.status != http.HTTPStatus.CREATED:
                raise GaveUpError(f"{purchase.reference}: {answer.status} {answer.data}")
            return Receipt(
                charge=answer.data["id"],
                sent=sent,
                lost=lost,
                told_to_wait=told_to_wait,
                server_errors=server_errors,
                replayed=answer.replayed,
            )
        raise GaveUpError(f"{purchase.reference}: no answer")

    def send(self, purchase: Purchase, key: str, fate: Fate) -> Answer:
        """Send one request, and meet its fate.

        Raises: NoAnswerError.
        """
        line = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        body = {
            "account": self.accounts[purchase.customer],
            "amount": str(purchase.amount),
            "description": purchase.reference,
        }
        headers = {
            "Authorization": f"Token {self.tokens[purchase.customer]}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        try:
            line.request("POST", self.path, json.dumps(body), headers)
            if fate is Fate.HUNG_UP:
                raise NoAnswerError
            response = line.getresponse()
            if fate is Fate.LOST:
                raise NoAnswerError
            return read(response)
        except (OSError, http.client.HTTPException) as exc:
            # The server process died, or its answer broke off.
            raise NoAnswerError from exc
        finally:
            line.close()


def read(response: http.client.HTTPResponse) -> Answer:
    """Read an answer to its end."""
    text = response.read()
    try:
        data = json.loads(text)
    except ValueError:
        data = {}
    retry_after = response.getheader("Retry-After")
    return Answer(
        status=response.status,
        replayed=response.getheader("Idempotent-Replayed") == "true",
        retry_after=float(retry_after) if retry_after else None,
        data=data,
    )


def pauses() -> Iterator[float]:
    """Wait longer from time to time, and never as long as another client does."""
    for attempt in count():
        yield random.uniform(0.5, 1) * min(0.05 * 2**attempt, 1)  # noqa: S311  # a pause, not a secret
