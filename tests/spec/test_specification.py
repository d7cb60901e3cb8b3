"""What is published of a guarded endpoint, in words and as a schema."""

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from django_idempotency.decorators import published_as
from django_idempotency.exceptions import KeyInvalid
from django_idempotency.keys import parse_key, validate_uuid
from django_idempotency.policy import Policy
from django_idempotency.specification import Specification, name_of, spell

ANY_KEY = "The key is 1 to 255 visible ASCII characters, such as a UUID, bare or as a quoted string (RFC 8941)."
UUID_KEY = "The key is a UUID in its canonical form, bare or as a quoted string (RFC 8941)."
CONCURRENT = "While the first request is in progress, a retry"


@published_as("Each tenant has keys of its own.")
def tenant(request: Any) -> str:
    """Return what only programmers know."""
    return "tenant"


def undescribed(request: Any) -> str:
    """Return what only programmers know."""
    return "it"


@published_as("Each tenant has keys of its own.")
class Tenant:
    def __call__(self, request: Any) -> str:
        return "tenant"


@published_as("It begins with the shop's number.")
def begins_with_number(key: str) -> None:
    """Raise what only programmers know."""


def specify(overrides: dict[str, Callable[..., Any]] | None = None, **arguments: Any) -> Specification:
    return Specification(policy=Policy(**arguments), overrides=overrides or {})


class TestSpecification:
    @pytest.mark.parametrize(
        ("specification", "sentence"),
        [
            (specify(required=True), "A request without a key is refused."),
            (specify(required=False), "A request without a key runs each time it is sent."),
            (specify({"required": undescribed}), "Some requests are refused without a key."),
            (specify({"required": tenant}), "Each tenant has keys of its own."),
            (
                specify(ttl=timedelta(hours=36)),
                "A key is remembered for 1 day 12 hours, together with the response. After that, a retry runs again.",
            ),
            (
                specify({"ttl": undescribed}),
                "How long a key is remembered depends on the request. After that, a retry runs again.",
            ),
            (specify({"ttl": tenant}), "Each tenant has keys of its own. After that, a retry runs again."),
            (specify(), "Each user has keys of their own; requests without a user share theirs."),
            (specify(scope=tenant), "Each tenant has keys of its own."),
            (specify(scope=partial(tenant)), "Each tenant has keys of its own."),
            (specify(scope=Tenant()), "Each tenant has keys of its own."),
            (
                specify({"scope": undescribed}),
                "The same key may be used by different callers, as this API tells them apart.",
            ),
            (specify(wait=0), f"{CONCURRENT} is refused at once."),
            (specify(wait=2.5), f"{CONCURRENT} waits up to 2.5 seconds for its response, and is then refused."),
            (specify({"wait": undescribed}), f"{CONCURRENT} waits for its response, or is refused."),
            (specify({"wait": tenant}), "Each tenant has keys of its own."),
            (specify(key_validator=begins_with_number), f"{ANY_KEY} It begins with the shop's number."),
            (specify(key_validator=validate_uuid), UUID_KEY),
            (specify({"key": undescribed}), ANY_KEY),
            (specify({"key": begins_with_number}), f"{ANY_KEY} It begins with the shop's number."),
        ],
    )
    def test_says(self, specification, sentence):
        assert sentence in specification.sentences

    def test_says_what_several_steps_mean(self):
        _, requirement, expiry, _, concurrency = specify(steps=True, ttl=60, wait=2.5, lease=90).sentences

        assert requirement == "A request without a key is refused."
        assert expiry.startswith("A key is remembered for 1 minute from the end of the operation, together with")
        assert concurrency.startswith(f"{CONCURRENT} waits up to 2.5 seconds")
        assert concurrency.endswith(" If its server has died, a retry goes on after 1 minute 30 seconds at most.")

    def test_says_what_settings_say(self, settings):
        settings.IDEMPOTENCY_REQUIRED = True
        settings.IDEMPOTENCY_TTL = 3600
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(days=7)
        settings.IDEMPOTENCY_WAIT = 1
        settings.IDEMPOTENCY_SCOPE = tenant
        settings.IDEMPOTENCY_KEY_VALIDATOR = validate_uuid

        key, requirement, expiry, scope, concurrency = specify().sentences
        assert key == UUID_KEY
        assert requirement == "A request without a key is refused."
        assert expiry.startswith(
            "A key is remembered for 1 hour, together with the response. For another 7 days a retry"
        )
        assert scope == "Each tenant has keys of its own."
        assert concurrency == f"{CONCURRENT} waits up to 1 second for its response, and is then refused."

    @pytest.mark.parametrize(
        "value",
        [
            "a",
            "8f14e45f-ceea-467f-9d3c-8c1b0b6c9d4a",
            '"8f14e45f-ceea-467f-9d3c-8c1b0b6c9d4a"',
            "!#$%&'()*+-./:;<=>?@[]^_`{|}~\\",
            '"a,b"',
            r'"a\"b\\c"',
            "",
            '""',
            '"',
            'a"b',
            "a,b",
            "a b",
            '"a b"',
            '"a"b"',
            r'"a\b"',
            "é",
            "a\x7f",
        ],
    )
    def test_pattern_is_what_is_accepted(self, value):
        try:
            parse_key(value)
        except KeyInvalid:
            accepted = False
        else:
            accepted = True

        pattern = specify().key_schema["pattern"]
        assert bool(re.search(pattern, value)) is accepted

    def test_uuid_is_a_format(self):
        assert specify(key_validator=validate_uuid).key_schema["format"] == "uuid"


class TestSpell:
    @pytest.mark.parametrize(
        ("duration", "words"),
        [
            (timedelta(days=1), "1 day"),
            (timedelta(days=2, hours=1, minutes=30, seconds=1), "2 days 1 hour 30 minutes 1 second"),
            (timedelta(milliseconds=500), "0.5 seconds"),
            (timedelta(days=1, milliseconds=1500), "1 day 1.5 seconds"),
            (timedelta(0), "0 seconds"),
        ],
    )
    def test_largest_units_come_first(self, duration, words):
        assert spell(duration) == words


class TestNameOf:
    @pytest.mark.parametrize("scope", [tenant, partial(tenant)])
    def test_function(self, scope):
        assert name_of(scope) == "tests.spec.test_specification.tenant"

    def test_object_is_named_by_its_class(self):
        assert name_of(Tenant()) == "tests.spec.test_specification.Tenant"
