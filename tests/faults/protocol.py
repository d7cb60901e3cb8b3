"""The protocol as a client sees it: requests, their answers, and a model that tells which answers are right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import permutations
from typing import Any

import httpx

from django_idempotency.exceptions import KeyReused, ResponseExpired, ResponseNotStored
from tests.http.doors import is_in_progress, is_replay

Script = Sequence[Sequence[Any]]
Identity = tuple[str | None, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a handler ends after its effect: its last steps, the status it is answered with, and whether that is kept."""

    steps: Script
    status: int
    kept: bool


ENDINGS = {
    "created": Ending(steps=[], status=201, kept=True),
    "declined": Ending(steps=[["respond", "declined", {"status": 402}]], status=402, kept=True),
    "too large to store": Ending(steps=[["respond", "x", {"repeat": 200}]], status=200, kept=True),
    "refused": Ending(steps=[["respond", "invalid", {"status": 422}]], status=422, kept=False),
    "unavailable": Ending(steps=[["respond", "later", {"status": 503}]], status=503, kept=False),
    "rolled back": Ending(
        steps=[["mark_for_rollback"], ["respond", "declined", {"status": 402}]], status=402, kept=False
    ),
    "succeeded at what is rolled back": Ending(steps=[["mark_for_rollback"]], status=500, kept=False),
    "raised": Ending(steps=[["raise"]], status=500, kept=False),
    "lost its session": Ending(steps=[["lose_session"]], status=500, kept=False),
    "failed to commit": Ending(steps=[["doom_commit"]], status=500, kept=False),
}
MAX_RESPONSE_BYTES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; those of one identity and with the same parameters are retries, however they are spelled."""

    user: str | None
    key: str
    path: str
    amount: int
    ending: str
    spelling: int = 0

    @property
    def identity(self) -> Identity:
        return (self.user, self.key)

    @property
    def parameters(self) -> tuple[str, int]:
        return (self.path, self.amount)

    @property
    def waits(self) -> bool:
        """Tell whether its view lets it wait for the first request's answer."""
        return "-wait/" in self.path

    @property
    def options(self) -> dict[str, Any]:
        """Return what to send."""
        separators = ((",", ":"), (" , ", " : "))[self.spelling]
        return {
            "content": json.dumps({"amount": self.amount, "currency": "EUR"}, separators=separators),
            "headers": {
                "Content-Type": "application/json",
                "Idempotency-Key": (self.key, f'"{self.key}"')[self.spelling],
            },
            "auth": None if self.user is None else (self.user, "password"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client was told."""

    content: tuple[int, bytes, str]
    is_replay: bool
    is_in_progress: bool

    @classmethod
    def of(cls, response: httpx.Response) -> Answer:
        content = (response.status_code, response.content, response.headers.get("Content-Type", ""))
        return cls(content=content, is_replay=is_replay(response), is_in_progress=is_in_progress(response))

    def refuses(self, detail: str) -> bool:
        """Tell whether it is the refusal with this *detail*."""
        return self.content[0] == 409 and json.loads(self.content[1])["detail"] == detail


class Age(IntEnum):
    """What has become of a key: with tombstones, an expired one is not forgotten yet."""

    FRESH = 0
    EXPIRED = 1
    FORGOTTEN = 2


@dataclass(slots=True, kw_only=True)
class Memory:
    """What is remembered of one request."""

    parameters: tuple[str, int]
    answer: Answer
    label: str
    age: Age = Age.FRESH


@dataclass(slots=True, kw_only=True)
class Model:
    """What must be true: one client after the other, each key's request taking effect once."""

    memories: dict[Identity, Memory] = field(default_factory=dict)
    effects: list[str] = field(default_factory=list)

    def runs(self, request: Request) -> bool:
        """Tell whether the handler must run."""
        memory = self.memories.get(request.identity)
        return memory is None or memory.age is Age.FORGOTTEN

    def accepts(self, request: Request, answer: Answer, label: str) -> bool:
        """Tell whether *answer* is right, and take in what it changed; *label* is the effect's."""
        if self.runs(request):
            ending = ENDINGS[request.ending]
            if ending.kept:
                self.effects.append(label)
                self.memories[request.identity] = Memory(parameters=request.parameters, answer=answer, label=label)
            return not answer.is_replay and answer.content[0] == ending.status
        memory = self.memories[request.identity]
        if memory.parameters != request.parameters:
            return answer.refuses(KeyReused().detail)
        if memory.age is Age.EXPIRED:
            return answer.refuses(ResponseExpired().detail)
        if len(memory.answer.content[1]) > MAX_RESPONSE_BYTES:
            return answer.refuses(ResponseNotStored(memory.answer.content[0]).detail)
        return answer.is_replay and answer.content == memory.answer.content

    def explain(self, exchanges: Sequence[tuple[Request, Answer, str]]) -> Model | None:
        """Return the model after these *exchanges*, which overlapped, in an order in which all are right, if any."""
        for order in permutations(exchanges):
            after = deepcopy(self)
            if all(after.accepts(*exchange) for exchange in order):
                return after
        return None
