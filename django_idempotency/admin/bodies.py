"""A stored body as people can read it: JSON indented, text as it is, anything else as a hex dump."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Final, Literal

# How many bytes of a body are read to be shown, and how many of a binary one.
HEAD_SIZE: Final = 64 * 1024
HEX_SIZE: Final = 256

_BYTES_IN_LINE: Final = 16
_LONGEST_CHARACTER: Final = 4
_LEXEME: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is shown of a body; `is_whole` tells whether that is all of it."""

    kind: Literal["empty", "json", "text", "binary"]
    text: str
    is_whole: bool


def preview(head: bytes, *, size: int, headers: Iterable[tuple[str, str]]) -> Preview:
    """Return what to show of a body of *size* bytes that starts with *head*."""
    is_whole = len(head) == size
    if not head:
        return Preview(kind="empty", text="", is_whole=True)
    media_type, charset = _content_type(headers)
    text = None if _is_encoded(headers) else _decode(head, charset, is_whole=is_whole)
    if text is None:
        return Preview(kind="binary", text="\n".join(_hex_lines(head[:HEX_SIZE])), is_whole=size <= HEX_SIZE)
    if is_whole and (media_type.endswith(("/json", "+json"))):
        indented = _indent(text)
        if indented is not None:
            return Preview(kind="json", text=indented, is_whole=True)
    return Preview(kind="text", text=text, is_whole=is_whole)


def extension(headers: Iterable[tuple[str, str]]) -> str:
    """Return the suffix for a file with the body: `.json`, `.pdf`, …; `.bin` if nobody knows."""
    media_type, _charset = _content_type(headers)
    if _is_encoded(headers):
        return ".bin"
    return ".json" if media_type.endswith("+json") else mimetypes.guess_extension(media_type) or ".bin"


def _header(headers: Iterable[tuple[str, str]], wanted: str) -> str:
    return next((value for name, value in headers if name.lower() == wanted), "")


def _is_encoded(headers: Iterable[tuple[str, str]]) -> bool:
    return _header(headers, "content-encoding").lower() not in {"", "identity"}


def _content_type(headers: Iterable[tuple[str, str]]) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = _header(headers, "content-type") or "application/octet-stream"
    return message.get_content_type(), message.get_content_charset("utf-8")


def _decode(head: bytes, charset: str, *, is_whole: bool) -> str | None:
    """Return the text that *head* is, or None if it is none. Its last character may be cut in two."""
    try:
        text = head.decode(charset)
    except UnicodeDecodeError as error:
        if is_whole or error.start < len(head) - _LONGEST_CHARACTER:
            return None
        text = head[: error.start].decode(charset)
    except LookupError:
        return None
    return None if _CONTROL.search(text) else text


def _indent(text: str) -> str | None:
    """Indent JSON, or return None if it is none. Numbers stay as they are spelled: 1.10 is not 1.1."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return "".join(_indented(_LEXEME.findall(text)))


def _indented(lexemes: Iterable[str]) -> Iterator[str]:
    depth = 0
    before = ""
    for lexeme in lexemes:
        if lexeme in "]}":
            depth -= 1
        if before and (before in "[{," or lexeme in "]}") and before + lexeme not in {"[]", "{}"}:
            yield "\n" + "  " * depth
        if lexeme in "[{":
            depth += 1
        yield json.dumps(json.loads(lexeme), ensure_ascii=False) if lexeme.startswith('"') else lexeme
        if lexeme == ":":
            yield " "
        before = lexeme


def _hex_lines(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), _BYTES_IN_LINE):
        line = content[start : start + _BYTES_IN_LINE]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)
        yield f"{start:08x}  {line.hex(' '):<{3 * _BYTES_IN_LINE - 1}}  {text}"
