"""A suite of checks for one endpoint: whether it does with keys what its clients count on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from django_idempotency.testing.dialogues import Dialogue
from django_idempotency.testing.promises import MALFORMED, Promises
from django_idempotency.testing.targets import Data, Sample, Target, target_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise, and what finds out whether the endpoint keeps it. `needs` says what it cannot be tried without."""

    name: str
    promise: str
    run: Callable[[], None]
    needs: str = ""

    def __call__(self) -> None:
        """Try it.

        Raises:
            NotConforming: An AssertionError that says what the endpoint did instead.
        """
        self.run()

    def __str__(self) -> str:
        return self.name


def idempotency_conformance(
    target: str | Callable[..., Any],
    *,
    data: Data = b"",
    other_data: Data | None = None,
    method: str = "POST",
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    other_headers: Mapping[str, str] | None = None,
    user: Callable[[], Any] | None = None,
    other_user: Callable[[], Any] | None = None,
    required: bool = True,
    max_key_length: int = 255,
    expire: Callable[[str], object] | None = None,
) -> list[Check]:
    """Return the checks of one endpoint: a URL, a path of this project, or a view; each is called without arguments.

    *data* is the body of a request that succeeds, each time that it is sent with a new key. What is not given is not
    tried: *other_data* is the body of another request; *other_headers*, or *other_user*, are those of another client;
    *expire* is called with a key, and lets it expire (for this project's, the package does it). *user* and *other_user*
    are called for each request, and return users of this project, who are logged in.
    """
    sample = Sample(method=method, data=data, content_type=content_type, headers=headers or {}, user=user)
    has_stranger = other_headers is not None or other_user is not None
    checks = all_checks(
        target_of(target),
        sample,
        other=None if other_data is None else replace(sample, data=other_data),
        stranger=replace(sample, headers=other_headers or {}, user=other_user) if has_stranger else None,
        required=required,
        max_key_length=max_key_length,
        expire=expire,
    )
    return [check for check in checks if not check.needs]


def all_checks(
    target: Target,
    sample: Sample,
    *,
    other: Sample | None,
    stranger: Sample | None,
    required: bool,
    max_key_length: int,
    expire: Callable[[str], object] | None,
) -> list[Check]:
    """Return every check, those that cannot be tried, too."""
    dialogue = Dialogue(target, sample)
    promises = Promises(dialogue)
    expire = expire or target.expire

    def check(name: str, promise: str, run: Callable[[], None], *, needs: str = "") -> Check:
        def in_dialogue() -> None:
            with target.ready():
                run()

        return Check(name=name, promise=promise, run=in_dialogue, needs=needs)

    def refusal(name: str, what: str, lines: list[bytes]) -> Check:
        return check(f"malformed-{name}", f"{what} is refused with 400.", lambda: promises.refuses_malformed(lines))

    return [
        check("replay", "The same request with the same key gets the same answer.", promises.replays),
        check("new-key", "The same request with a new key runs.", promises.runs_with_new_key),
        check("quoted-key", "A key means the same with quotes and without.", promises.takes_quotes),
        check(
            "mismatch",
            "A key that was used for another request is refused with 409 or 422, and is not lost.",
            lambda: promises.refuses_mismatch(other or sample),
            needs="" if other is not None else "other_data",
        ),
        check(
            "missing-key",
            "A request without a key is refused with 400.",
            promises.refuses_missing,
            needs="" if required else "required",
        ),
        *(refusal(name, what, lines) for name, (what, lines) in MALFORMED.items()),
        refusal("too-long", f"A key of more than {max_key_length} characters", [b"k" * (max_key_length + 1)]),
        check(
            "scope",
            "Another client with the same key gets an answer of its own.",
            lambda: promises.tells_clients_apart(stranger or sample),
            needs="" if stranger is not None else "other_headers or other_user",
        ),
        check(
            "in-flight",
            "Of several requests at once one runs; the others get its answer, or 409 and Retry-After.",
            promises.runs_one_at_a_time,
        ),
        check(
            "headers",
            "A replay repeats Location, Content-Type and their like, and no cookie.",
            promises.repeats_headers,
        ),
        check(
            "expiry",
            "A key that has expired is forgotten: the request runs again.",
            lambda: promises.forgets(cast("Callable[[str], object]", expire)),
            needs="" if expire is not None else "expire",
        ),
    ]
