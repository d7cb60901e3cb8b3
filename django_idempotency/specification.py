"""What is published of a guarded endpoint: which keys it takes, how long they count, and whose they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django_idempotency.conf import settings
from django_idempotency.keys import KEY_MAX_LENGTH, validate_uuid
from django_idempotency.policy import Policy

# A key, bare or as a quoted string: what `parse_key` accepts, but for the length.
KEY_PATTERN: Final = r'^(?:[!#-+\--~]+|"(?:[!#-\[\]-~]|\\["\\])+")$'
_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60))


@dataclass(frozen=True, slots=True, kw_only=True)
class Specification:
    """How an endpoint is guarded, as far as that is known before there is a request.

    What `overrides` has a callable for depends on the request, and is None here. Such a callable, like any that chooses
    the scope or looks at the key, is described by the words that `@published_as` gave it.

    Source: draft-ietf-httpapi-idempotency-key-header, section 2.4, which asks that the expiry is published.
    """

    policy: Policy
    overrides: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def required(self) -> bool | None:
        """Whether a request without a key is refused."""
        return None if "required" in self.overrides else self.policy.is_required()

    @property
    def ttl(self) -> timedelta | None:
        """How long a key is remembered."""
        return None if "ttl" in self.overrides else self.policy.get_ttl()

    @property
    def wait(self) -> float | None:
        """How many seconds a concurrent request waits for the first one's answer."""
        return None if "wait" in self.overrides else self.policy.get_wait()

    @property
    def scope(self) -> Callable[..., Any] | None:
        """What tells whose key it is; None for the user."""
        return self.overrides.get("scope") or self.policy.scope or settings.scope

    @property
    def key_validator(self) -> Callable[[str], object] | None:
        """What else a key must be."""
        return self.policy.key_validator or settings.key_validator

    @property
    def key_schema(self) -> dict[str, Any]:
        """The header's value as a JSON schema."""
        if self.key_validator is validate_uuid:
            return {"type": "string", "format": "uuid", "minLength": 36, "maxLength": 38}  # Quotes included.
        return {"type": "string", "minLength": 1, "maxLength": KEY_MAX_LENGTH, "pattern": KEY_PATTERN}

    @property
    def sentences(self) -> list[str]:
        """What a client needs to know, one subject each."""
        return [self.key_rule, self._requirement, self._expiry, self._scope, self._concurrency]

    @property
    def key_rule(self) -> str:
        """What a key must be, in words."""
        if self.key_validator is validate_uuid:
            form = "a UUID in its canonical form"
        else:
            form = f"1 to {KEY_MAX_LENGTH} visible ASCII characters, such as a UUID"
        own = [words_of(rule) for rule in (self.key_validator, self.overrides.get("key")) if rule is not None]
        extra = [] if self.key_validator is validate_uuid else own
        return " ".join([f"The key is {form}, bare or as a quoted string (RFC 8941).", *filter(None, extra)])

    @property
    def _requirement(self) -> str:
        if self.required is None:
            return words_of(self.overrides["required"]) or "Some requests are refused without a key."
        if self.required:
            return "A request without a key is refused."
        return "A request without a key runs each time it is sent."

    @property
    def _expiry(self) -> str:
        if self.ttl is None:
            text = words_of(self.overrides["ttl"]) or "How long a key is remembered depends on the request."
        else:
            begin = " from the end of the operation" if self.policy.steps else ""
            text = f"A key is remembered for {spell(self.ttl)}{begin}, together with the response."
        if settings.tombstone_ttl:
            return f"{text} For another {spell(settings.tombstone_ttl)} a retry is refused; after that, it runs again."
        return f"{text} After that, a retry runs again."

    @property
    def _scope(self) -> str:
        if self.scope is None:
            return "Each user has keys of their own; requests without a user share theirs."
        return words_of(self.scope) or "The same key may be used by different callers, as this API tells them apart."

    @property
    def _concurrency(self) -> str:
        if self.policy.steps:
            longest = spell(self.policy.get_lease())
            return f"{self._duplicate} If its server has died, a retry goes on after {longest} at most."
        return self._duplicate

    @property
    def _duplicate(self) -> str:
        start = "While the first request is in progress, a retry"
        if self.wait is None:
            return words_of(self.overrides["wait"]) or f"{start} waits for its response, or is refused."
        if self.wait == 0:
            return f"{start} is refused at once."
        return f"{start} waits up to {spell(timedelta(seconds=self.wait))} for its response, and is then refused."


def spell(duration: timedelta) -> str:
    """Return *duration* in words, such as "1 day 12 hours"."""
    seconds = duration.total_seconds()
    words = []
    for unit, size in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            words.append(_count(count, unit))
    if seconds or not words:
        words.append(_count(seconds, "second"))
    return " ".join(words)


def words_of(rule: Any) -> str:
    """Return what `@published_as` says of a callable, or nothing."""
    return str(getattr(rule.func if isinstance(rule, partial) else rule, "idempotency_words", ""))


def name_of(rule: Any) -> str:
    """Return where a callable is found, as its dotted name."""
    rule = rule.func if isinstance(rule, partial) else rule
    named = rule if hasattr(rule, "__qualname__") else type(rule)
    return f"{named.__module__}.{named.__qualname__}"


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"
