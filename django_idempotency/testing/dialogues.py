"""What a client of the endpoint under test says, and may conclude from the answers."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Final

from django_idempotency.testing.answers import Answer
from django_idempotency.testing.failures import NotConforming
from django_idempotency.testing.targets import Sample, Target

_MARK: Final = "idempotent-replayed"


class Dialogue:
    """Sends *sample*, or another request, with keys; raises NotConforming where an answer is not what it must be."""

    def __init__(self, target: Target, sample: Sample) -> None:
        self._target = target
        self._sample = sample

    def send(self, *keys: str | bytes, sample: Sample | None = None) -> Answer:
        """Send a request with these lines of `Idempotency-Key`."""
        lines = [key if isinstance(key, bytes) else key.encode() for key in keys]
        return self._target.send(sample or self._sample, lines)

    def succeed(self, key: str, *, sample: Sample | None = None) -> Answer:
        """Send a request that must succeed."""
        answer = self.send(key, sample=sample)
        if not answer.succeeded:
            raise NotConforming(
                f"A request that should succeed was answered {answer.status}: {answer.excerpt}. Give a body and "
                "headers with which it does, each time that it is sent with a new key."
            )
        return answer

    def together(self, key: str, count: int) -> list[Answer]:
        """Send the request *count* times at once, each from a thread of its own."""
        barrier = Barrier(count)

        def send(_: int) -> Answer:
            with self._target.in_thread():
                barrier.wait()
                return self.send(key)

        self._target.require_threads()
        with ThreadPoolExecutor(count) as executor:
            return list(executor.map(send, range(count)))

    def require_replay(self, first: Answer, answer: Answer) -> None:
        """See that *answer* is the stored one, not one that happens to say the same."""
        if difference := first.difference(answer):
            raise NotConforming(f"The retry was not answered as the first request was: {difference}")
        if answer.header(_MARK) is None and not first.difference(self.succeed(new_key())):
            raise NotConforming(
                f"A replay cannot be told from a second run: both are answered {answer.excerpt}, without "
                "Idempotent-Replayed. Answer with something that is new for each operation, or mark replays."
            )

    def require_own(self, first: Answer, answer: Answer, *, key: str) -> None:
        """See that *answer* is that of another operation than *first*, which was made with *key*."""
        if not answer.succeeded:
            raise NotConforming(f"It was answered {answer.status} instead of running: {answer.excerpt}")
        marks = self.send(key).header(_MARK) is not None
        if answer.header(_MARK) is not None or (not marks and answer.body == first.body):
            raise NotConforming(f"It was given the answer to another request: {answer.excerpt}")

    def require_status(self, answer: Answer, *statuses: int) -> None:
        """See that a request was refused."""
        if answer.status not in statuses:
            wanted = " or ".join(map(str, statuses))
            raise NotConforming(f"It was answered {answer.status} instead of {wanted}: {answer.excerpt}")


def new_key() -> str:
    """Return a key that nobody has used."""
    return str(uuid.uuid4())
