"""What every endpoint with keys is to do, as dialogues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django_idempotency.testing.answers import REPEATED_HEADERS
from django_idempotency.testing.dialogues import Dialogue, new_key
from django_idempotency.testing.failures import NotConforming
from django_idempotency.testing.targets import Sample

# By name: what is wrong with them, in words, and their header lines.
MALFORMED: Final[dict[str, tuple[str, list[bytes]]]] = {
    "blank": ("A blank key", [b""]),
    "white-space": ("A key with white space", [b"two words"]),
    "not-ascii": ("A key that is not ASCII", ["schlüssel".encode()]),
    "half-quoted": ("A key with one quote", [b'"half']),
    "list": ("A list of keys", [b'"one", "two"']),
    "twice": ("A key that is given twice", [b"one", b"two"]),
}
_CLIENTS: Final = 8


class Promises:
    """The checks themselves. Each raises NotConforming."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue

    def replays(self) -> None:
        key = new_key()
        first = self._dialogue.succeed(key)
        for _ in range(2):
            self._dialogue.require_replay(first, self._dialogue.send(key))

    def runs_with_new_key(self) -> None:
        key = new_key()
        first = self._dialogue.succeed(key)
        self._dialogue.require_own(first, self._dialogue.send(new_key()), key=key)

    def takes_quotes(self) -> None:
        key = new_key()
        first = self._dialogue.succeed(key)
        self._dialogue.require_replay(first, self._dialogue.send(f'"{key}"'))

    def refuses_mismatch(self, other: Sample) -> None:
        # Else it may be refused for what is in it.
        self._dialogue.succeed(new_key(), sample=other)
        key = new_key()
        first = self._dialogue.succeed(key)
        self._dialogue.require_status(self._dialogue.send(key, sample=other), 409, 422)
        self._dialogue.require_replay(first, self._dialogue.send(key))

    def refuses_missing(self) -> None:
        self.refuses_malformed([])

    def refuses_malformed(self, lines: list[bytes]) -> None:
        self._dialogue.succeed(new_key())  # What is refused next is refused for its key, not for its body.
        self._dialogue.require_status(self._dialogue.send(*lines), 400)

    def tells_clients_apart(self, stranger: Sample) -> None:
        key = new_key()
        first = self._dialogue.succeed(key)
        self._dialogue.require_own(first, self._dialogue.send(key, sample=stranger), key=key)

    def runs_one_at_a_time(self) -> None:
        key = new_key()
        answers = self._dialogue.together(key, _CLIENTS)
        final = self._dialogue.succeed(key)
        for answer in answers:
            if answer.succeeded and (difference := final.difference(answer)):
                raise NotConforming(f"Two requests at once, with one key, got two answers: {difference}")
            if not answer.succeeded:
                self._dialogue.require_status(answer, 409)
                if answer.header("retry-after") is None:
                    raise NotConforming("A request was refused with 409 while the first one ran, without Retry-After.")

    def repeats_headers(self) -> None:
        key = new_key()
        first = self._dialogue.succeed(key)
        replay = self._dialogue.send(key)
        for name in REPEATED_HEADERS:
            if first.header(name) != replay.header(name):
                was, now = first.header(name), replay.header(name)
                raise NotConforming(f"The replay has the header {name}: {now!r}, the first answer had {was!r}.")
        if replay.header("set-cookie") is not None:
            raise NotConforming("The replay sets a cookie: whoever has the key would get the first client's session.")

    def forgets(self, expire: Callable[[str], object]) -> None:
        key = new_key()
        first = self._dialogue.succeed(key)
        expire(key)
        answer = self._dialogue.send(key)
        if not answer.succeeded:
            raise NotConforming(f"An expired key was answered {answer.status} instead of running: {answer.excerpt}")
        if not first.difference(answer) or answer.header("idempotent-replayed") is not None:
            raise NotConforming(f"An expired key was answered with the old answer: {answer.excerpt}")
