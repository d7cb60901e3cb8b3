"""The syntax of an idempotency key: from the header's value to the key, and validators that ask for more."""

from __future__ import annotations

import re
import uuid
from typing import Final

from django_idempotency.exceptions import KeyInvalid

KEY_MAX_LENGTH: Final = 255

# RFC 8941, section 3.3.3: a quoted string, in which only the quote and the backslash are escaped.
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


def parse_key(value: str) -> str:
    """Return the key that an `Idempotency-Key` header's *value* carries.

    A structured-field string (`"abc"`) and the bare token (`abc`) that most clients send mean the same key of
    1 to 255 visible ASCII characters. Servers join repeated header lines with a comma, so that an unquoted comma
    means more than one key.

    Raises:
        KeyInvalid: The value is blank, too long, a list, or has other characters.

    Source: draft-ietf-httpapi-idempotency-key-header, section 2.1; RFC 8941, section 3.3.3.
    """
    value = value.strip(" \t")
    quoted = _QUOTED.fullmatch(value)
    key = _ESCAPE.sub(r"\1", quoted[1]) if quoted else value
    if not key:
        raise KeyInvalid("The Idempotency-Key header is blank. Send 1 to 255 visible ASCII characters, such as a UUID.")
    if not quoted and ('"' in key or "," in key):
        raise KeyInvalid(
            "The Idempotency-Key header must carry exactly one key: send one header line, with one quoted string or "
            "one token without quotes and commas."
        )
    if len(key) > KEY_MAX_LENGTH:
        raise KeyInvalid(f"The Idempotency-Key is {len(key)} characters long. Send at most {KEY_MAX_LENGTH}.")
    if not _VISIBLE.fullmatch(key):
        raise KeyInvalid(
            "The Idempotency-Key has white space, control or non-ASCII characters. Send visible ASCII characters "
            "only, such as a UUID."
        )
    return key


def validate_uuid(key: str) -> None:
    """Accept only a UUID in its canonical form, of any version.

    Raises:
        KeyInvalid: The key is anything else.
    """
    try:
        canonical = str(uuid.UUID(key))
    except ValueError:
        canonical = None
    if canonical != key.lower():
        raise KeyInvalid(
            "The Idempotency-Key must be a UUID, such as 123e4567-e89b-42d3-a456-426614174000. Make a new one for each "
            "operation."
        )
