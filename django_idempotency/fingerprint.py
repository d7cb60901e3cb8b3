"""What an operation's parameters come down to: a keyed digest of their meaning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from itertools import chain
from typing import Final

from django.conf import settings
from django.utils.crypto import constant_time_compare
from django.utils.encoding import force_bytes

_VERSION: Final = b"\x01"
_SALT: Final = b"django_idempotency.fingerprint"
# HMAC's constants for SHA-256: the block's length, and what each octet of the key becomes.
_BLOCK: Final = 64
_INNER: Final = bytes(octet ^ 0x36 for octet in range(256))
_OUTER: Final = bytes(octet ^ 0x5C for octet in range(256))
# The thread's own context would round to its precision, which is the project's, and may differ between workers.
_EXACT: Final = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation])


# Note [Keyed fingerprints]
# A plain hash of a body that holds a card number can be guessed by trying card numbers, so what is stored is an
# HMAC under a key derived from SECRET_KEY. Only the unkeyed digest of this request is held, and only in memory:
# it can be signed with each of SECRET_KEY_FALLBACKS as well, so that rotating the key does not refuse retries.
@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The meaning of one request's parameters; compare it with a stored one by `matches`."""

    content: bytes

    @classmethod
    def of(cls, *parts: bytes) -> Fingerprint:
        """Digest *parts*, each behind its length, so that no two different lists run into the same bytes."""
        return cls(hashlib.sha256(_VERSION + framed(parts)).digest())

    def sign(self) -> str:
        """Return what to store: 64 hexadecimal digits."""
        return self._signed_with(settings.SECRET_KEY)

    def matches(self, stored: str) -> bool:
        """Tell, in constant time for each key, whether *stored* was signed for the same parameters."""
        secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return any(constant_time_compare(self._signed_with(secret), stored) for secret in secrets)

    def _signed_with(self, secret: str | bytes) -> str:
        inner, outer = _keyed_states(secret)
        inner, outer = inner.copy(), outer.copy()
        inner.update(self.content)
        outer.update(inner.digest())
        return outer.hexdigest()


# HMAC (RFC 2104) hashes one block of the key first, inside and outside: that is done once. `hmac` would have OpenSSL
# look the algorithm up each time, which takes four times as long as all that is left. The key is derived as
# django.utils.crypto.salted_hmac does it.
@lru_cache(maxsize=16)
def _keyed_states(secret: str | bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    key = hashlib.sha256(_SALT + force_bytes(secret)).digest().ljust(_BLOCK, b"\0")
    return hashlib.sha256(key.translate(_INNER)), hashlib.sha256(key.translate(_OUTER))


def canonical_json(body: bytes | str, *, ignored_fields: Collection[str] = ()) -> bytes | None:
    """Return one spelling for all JSON texts that mean the same, or None if *body* is no JSON.

    White space, the order of an object's members and the spelling of numbers with a fraction (1.50, 1.5, 15e-1)
    do not count. Such numbers are compared exactly, not as floats: amounts that differ in the twentieth
    digit differ. *ignored_fields* are left out of the outermost object.
    """
    try:
        value = _DECODER.decode(body if isinstance(body, str) else body.decode(json.detect_encoding(body)))
        if ignored_fields and isinstance(value, dict):
            value = {name: member for name, member in value.items() if name not in ignored_fields}
        return _ENCODER.encode(value).encode()
    except (ValueError, ArithmeticError, RecursionError):
        # No JSON, bytes in no Unicode encoding, a number of thousands of digits or with an exponent as long, or
        # nested beyond what can be read: the caller falls back on the raw bytes, which are right, only stricter.
        return None


def canonical_fields(fields: Iterable[tuple[str, bytes]], *, ignored_fields: Collection[str] = ()) -> bytes:
    """Return one spelling for all forms with the same fields, whatever the order of their names.

    The values of one name keep their order, which means something.
    """
    kept = sorted(
        ((name.encode(errors="surrogateescape"), value) for name, value in fields if name not in ignored_fields),
        key=lambda pair: pair[0],
    )
    return framed(chain.from_iterable(kept))


def framed(parts: Iterable[bytes], *, octets: int = 8) -> bytes:
    """Return *parts*, each behind its length in so many octets: no two different lists run into the same bytes."""
    return b"".join([piece for part in parts for piece in (len(part).to_bytes(octets, "big"), part)])


def _spell_decimal(number: Decimal) -> dict[str, str]:
    # A member's name that no client sends by accident keeps the number 1.5 apart from the string "1.5".
    return {"\0number": str(number.normalize(_EXACT))}


_DECODER: Final = json.JSONDecoder(parse_float=_EXACT.create_decimal)
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=_spell_decimal)
