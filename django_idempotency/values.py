"""The frozen values that pass between the layers."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Generic, Protocol, TypeVar

from django_idempotency.exceptions import UsageError
from django_idempotency.fingerprint import Fingerprint, framed
from django_idempotency.keys import KEY_MAX_LENGTH

T = TypeVar("T")

NAMESPACE_MAX_LENGTH: Final = 100
SCOPE_MAX_LENGTH: Final = 255
METHOD_MAX_LENGTH: Final = 16
PATH_MAX_LENGTH: Final = 255
STEP_NAME_MAX_LENGTH: Final = 100

# How many octets of a digest depend on the key alone.
_KEY_PREFIX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is to happen once: its identity, its parameters, and how long it is remembered.

    Two operations are the same if and only if namespace, scope and key are equal; `fingerprint` tells whether
    they also ask for the same thing. `method` and `path` are kept for people, cut to their column.

    Raises:
        UsageError: A part of the identity is blank, too long, or no text that every database can hold.
    """

    namespace: str
    scope: str
    key: str
    fingerprint: Fingerprint
    ttl: timedelta
    method: str = ""
    path: str = ""
    digest: uuid.UUID = field(init=False)

    def __post_init__(self) -> None:
        _validate("namespace", self.namespace, NAMESPACE_MAX_LENGTH)
        _validate("scope", self.scope, SCOPE_MAX_LENGTH)
        _validate("key", self.key, KEY_MAX_LENGTH)
        if self.ttl <= timedelta(0):
            raise UsageError(f"An operation's ttl must be positive, not {self.ttl!r}. Pass how long to remember it.")
        object.__setattr__(self, "method", self.method[:METHOD_MAX_LENGTH])
        object.__setattr__(self, "path", self.path[:PATH_MAX_LENGTH])
        object.__setattr__(self, "digest", _digest(self.namespace, self.scope, self.key))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResponse:
    """What the first request was answered, as far as it is kept.

    `body` is None where the answer was too large to keep. `status` is None for what has none, such as a job's
    result.
    """

    status: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = b""

    @property
    def tells_success(self) -> bool:
        """Whether the caller takes it that the operation was done."""
        return self.status is None or self.status < 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the database remembers of an operation, as of now.

    `completed` is false while its handler runs. `renewable` tells that it is forgotten: expired, and past any
    tombstone, so that the operation may run again. `expired` alone still refuses it.
    """

    fingerprint: str
    response: StoredResponse
    completed: bool
    expired: bool
    renewable: bool


class Codec(Protocol[T]):
    """How the value of one kind of handler is stored, and read again."""

    def dump(self, value: T, /) -> StoredResponse | None:
        """Return what to store of *value*, or None to forget the operation and roll back its effects."""

    def load(self, response: StoredResponse, /) -> T:
        """Return the value that a stored *response* stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """What came of an operation: the handler's value, or the stored one when `replayed`."""

    value: T
    replayed: bool


# Note [One digest decides]
# The primary key is a digest rather than the three columns: one index of 16 bytes decides who is first, on every
# engine, whatever its collation thinks of 'abc', 'ABC' and 'abc ' (MariaDB's default: all equal). Each part goes
# in behind its length, so that no two different triples run into the same bytes.
#
# Its first 32 bits are a digest of the key alone, so that people find a key whose scope they do not know in a range
# of the primary key. An index on the key would double what each first request writes (see benchmarks/indexes.py). The
# other bits are a digest of all three: two scopes with the same key still differ in 89 bits.
#
# 121 of its bits are the digest's; the others say that it is a UUID of version 8 (RFC 9562, section 5.8). MariaDB's
# type refuses bare digests: of version 8 and above it takes only those whose ninth octet is above 0x80 (10.11.19,
# all 4,096 pairs tried), hence 0xA0 to 0xBF here. `INSERT IGNORE` would quietly store another value instead.
def digests_of(key: str) -> tuple[uuid.UUID, uuid.UUID]:
    """Return the least and the greatest digest of operations with this *key*, whatever their namespace and scope.

    Few other keys share the range, but some may.
    """
    prefix = _hash(key)[:_KEY_PREFIX]
    rest = 16 - _KEY_PREFIX
    return _uuid(prefix + b"\x00" * rest), _uuid(prefix + b"\xff" * rest)


def _digest(namespace: str, scope: str, key: str) -> uuid.UUID:
    return _uuid(_hash(key)[:_KEY_PREFIX] + _hash(namespace, scope, key)[_KEY_PREFIX:16])


def _hash(*parts: str) -> bytes:
    return hashlib.sha256(framed([part.encode() for part in parts], octets=4)).digest()


def _uuid(content: bytes) -> uuid.UUID:
    # The version in the seventh octet, the variant in the ninth.
    return uuid.UUID(int=int.from_bytes(content, "big") & ~(0xF0 << 72 | 0xE0 << 56) | 0x80 << 72 | 0xA0 << 56)


def _validate(name: str, value: str, max_length: int) -> None:
    if not isinstance(value, str):
        raise UsageError(f"An operation's {name} must be a str, not {value!r}. Convert it first.")
    if not 1 <= len(value) <= max_length:
        raise UsageError(
            f"An operation's {name} must have 1 to {max_length} characters, not {len(value)}. Use a stable name of "
            "that length, such as a digest of the long one."
        )
    if not value.isprintable():
        raise UsageError(
            f"An operation's {name} must be printable text, not {value!r}. Encode it first, for instance as hex."
        )
