"""The purge under load: clients send again and again while keys expire and two purges run in a loop.

Each run notes when it began, and reads from its own row when it will be forgotten. So it is known to the microsecond
what may happen, however long the test's threads are kept waiting.
"""

import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest
from django.db import connection
from django.utils import timezone

from django_idempotency.exceptions import RequestInProgress, ResponseExpired
from django_idempotency.execution import execute
from django_idempotency.models import IdempotencyKey
from django_idempotency.purge import purge
from tests.app.views import effect
from tests.gate import TIMEOUT
from tests.operations import CODEC, labels, operation
from tests.threads import together

CLIENTS = 6
ENOUGH = 30
KEYS = 5
TTL = timedelta(milliseconds=40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of an operation, which is remembered until `expires`."""

    token: str
    began: datetime
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client was told; without a token, that the answer has expired."""

    key: str
    sent: datetime
    received: datetime
    token: str | None
    replayed: bool = False


@dataclass(slots=True, kw_only=True)
class Traffic:
    """What clients and purges saw."""

    runs: dict[str, dict[str, Run]] = field(default_factory=lambda: defaultdict(dict))
    counts: Counter[str] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)
    goal: Collection[str]
    started: float = field(default_factory=time.monotonic)

    @property
    def is_enough(self) -> bool:
        """Tell whether all that is to happen has happened often enough, or never will."""
        late = time.monotonic() - self.started > 3 * TIMEOUT
        return late or all(self.counts[name] >= ENOUGH for name in self.goal)

    def send(self, seed: int) -> None:
        """Be one client: send again and again, with keys that others use, too."""
        choose = random.Random(seed)
        while not self.is_enough:
            if connection.vendor == "sqlite":
                time.sleep(choose.uniform(0, 0.02))  # Its writers do not queue: one may never have its turn.
            answer = self.request(f"key{choose.randrange(KEYS)}")
            self.answers.append(answer)
            self.counts["replayed" if answer.replayed else "ran" if answer.token else "expired"] += 1

    def request(self, key: str) -> Answer:
        token = uuid.uuid4().hex

        def handler() -> str:
            began = timezone.now()
            effect(token)
            expires = IdempotencyKey.objects.get(key=key).expires
            self.runs[key][token] = Run(token=token, began=began, expires=expires)
            return token

        while True:
            sent = timezone.now()
            try:
                outcome = execute(operation(key, ttl=TTL), handler, codec=CODEC)
            except RequestInProgress:
                continue
            except ResponseExpired:
                return Answer(key=key, sent=sent, received=timezone.now(), token=None)
            return Answer(key=key, sent=sent, received=timezone.now(), token=outcome.value, replayed=outcome.replayed)

    def purge(self) -> None:
        """Purge in a loop for as long as clients send."""
        while not self.is_enough:
            purged = purge(batch_size=2)
            self.counts.update(deleted=purged.deleted, erased=purged.erased)


def traffic(*goal: str) -> Traffic:
    """Let clients and purges loose until each outcome in *goal* has come up often enough."""
    traffic = Traffic(goal=goal)
    clients: list[Callable[[], None]] = [partial(traffic.send, seed) for seed in range(CLIENTS)]
    together([traffic.purge, traffic.purge, *clients])
    assert all(traffic.counts[name] >= ENOUGH for name in goal), traffic.counts
    return traffic


def assert_exactly_once(traffic: Traffic, tombstone: timedelta = timedelta(0)) -> None:
    """Assert that no operation ran twice while it was remembered, and that each answer is that of the run it names."""
    committed = sorted(token for runs in traffic.runs.values() for token in runs)
    assert sorted(labels()) == committed
    for runs in traffic.runs.values():
        for earlier, later in pairwise(sorted(runs.values(), key=lambda run: run.began)):
            assert later.began >= earlier.expires + tombstone
    for answer in traffic.answers:
        if answer.token is not None:
            run = traffic.runs[answer.key][answer.token]
            assert run.began <= answer.received
            assert run.expires > answer.sent or not answer.replayed


@pytest.mark.django_db(transaction=True)
class TestLiveTraffic:
    def test_nothing_runs_twice_and_every_answer_is_right(self):
        seen = traffic("ran", "replayed", "deleted")

        assert_exactly_once(seen)

    def test_with_tombstones_a_retry_is_told_that_the_answer_has_expired(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = tombstone = timedelta(milliseconds=40)

        seen = traffic("ran", "replayed", "expired", "erased", "deleted")

        assert_exactly_once(seen, tombstone)
        for answer in seen.answers:
            if answer.token is None:
                assert any(
                    run.expires <= answer.received and run.expires + tombstone > answer.sent
                    for run in seen.runs[answer.key].values()
                )
