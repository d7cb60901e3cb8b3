"""From Django's request to the operation that it asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from io import BufferedIOBase
from itertools import chain
from typing import Any, Final
from urllib.parse import parse_qsl

from django.conf import settings as django_settings
from django.core.exceptions import TooManyFieldsSent, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.encoding import escape_uri_path

from django_idempotency import signals
from django_idempotency.bodies import CONSUMED, is_consumed, refuse_cut_off, rewound_body
from django_idempotency.conf import as_timedelta, settings
from django_idempotency.exceptions import IdempotencyError, KeyInvalid, KeyMissing, UsageError
from django_idempotency.fingerprint import Fingerprint, canonical_fields, canonical_json
from django_idempotency.keys import parse_key
from django_idempotency.policy import Policy
from django_idempotency.values import Operation

NAMESPACE: Final = "http"
KEY_HEADER: Final = "Idempotency-Key"
_META_KEY: Final = "HTTP_IDEMPOTENCY_KEY"
_MULTIPART: Final = "multipart/form-data"
_URLENCODED: Final = "application/x-www-form-urlencoded"


def key_for(request: HttpRequest, policy: Policy) -> str | None:
    """Return the key that guards *request*, or None if it carries none and needs none.

    Raises:
        KeyMissing, KeyInvalid: Before any database access of ours.
    """
    key = read_key(request, policy.key_validator)
    if key is None and policy.is_required():
        raise KeyMissing
    return key


def operation_for(
    request: HttpRequest, *, key: str, scope: str, fingerprint: Fingerprint, ttl: timedelta | float
) -> Operation:
    """Return the operation that *request* asks for, and leave it on the request as `idempotency_operation`."""
    operation = Operation(
        namespace=NAMESPACE,
        scope=scope,
        key=key,
        fingerprint=fingerprint,
        ttl=as_timedelta(ttl),
        method=request.method or "",
        path=_ascii_path(request.path),
    )
    request.idempotency_operation = operation  # type: ignore[attr-defined]  # ours
    return operation


@lru_cache(maxsize=256)
def _ascii_path(path: str) -> str:
    """Return *path* as every database can hold it."""
    return escape_uri_path(path)


def is_guarded(request: HttpRequest) -> bool:
    """Tell whether *request* runs as an operation already: what it calls is a part of that."""
    return hasattr(request, "idempotency_operation")


def read_key(request: HttpRequest, validator: Callable[[str], object] | None = None) -> str | None:
    """Return the request's key, or None if it has no such header.

    The *validator*, else the one in the settings, may raise KeyInvalid, ValueError or ValidationError.

    Raises:
        KeyInvalid: The header is malformed, or the validator refuses the key.
    """
    value = request.META.get(_META_KEY)
    if value is None:
        return None
    key = parse_key(value)
    validate = validator or settings.key_validator
    if validate is not None:
        try:
            validate(key)
        except ValidationError as error:
            raise KeyInvalid(" ".join(error.messages)) from error
        except ValueError as error:
            raise KeyInvalid(
                str(error) or "The Idempotency-Key is not of the form that this endpoint takes."
            ) from error
    return key


def scope_of(request: Any, scope: Callable[[Any], str] | None = None) -> str:
    """Return whose key it is: what *scope*, else the callable in the settings, says; else the user.

    All requests without a user share the scope `anonymous`.

    Raises:
        UsageError: The user is authenticated, but not one of the database.
    """
    choose = scope or settings.scope
    if choose is not None:
        return choose(request)
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return "anonymous"
    if user.pk is None:
        raise UsageError(
            "The authenticated user has no primary key to tell his keys from another's. Choose a scope: a callable on "
            "the view, in IDEMPOTENCY_SCOPE, or get_idempotency_scope()."
        )
    return f"user:{user.pk}"


def report_refusal(error: IdempotencyError) -> None:
    """Report a request that was refused for its key alone; the protocol reports all other refusals."""
    if isinstance(error, KeyMissing | KeyInvalid):
        signals.refused.report(None, error=error)


def fingerprint_of(
    request: HttpRequest, *, ignored_fields: Collection[str] = (), parsed: bytes | None = None
) -> Fingerprint:
    """Digest what *request* asks for: method, path, query, media type, and the body by its meaning.

    The body can be read again afterwards, as if it had not been read. Where a parser has consumed it, *parsed*
    is its content in JSON.

    Raises:
        UsageError: The body was consumed as a stream before.
        BadRequest: The client died before it had sent the whole of it.
    """
    media_type = request.content_type or ""
    if parsed is not None:
        kind, body = b"json", canonical_json(parsed, ignored_fields=ignored_fields) or parsed
    elif media_type == _MULTIPART or (media_type == _URLENCODED and is_consumed(request)):
        kind, body = b"form", _canonical_form(request, ignored_fields)
    else:
        kind, body = _canonical_body(request, media_type, ignored_fields)
    query = request.META.get("QUERY_STRING", "")
    return Fingerprint.of(
        (request.method or "").encode(),
        request.path.encode(),
        _canonical_query(query) if query else b"",
        media_type.encode(),
        kind,
        body,
    )


def _canonical_query(query: str) -> bytes:
    # Bytes that are no UTF-8 come through, percent-encoded or not.
    fields = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return canonical_fields((name, value.encode(errors="surrogateescape")) for name, value in fields)


def _canonical_body(request: HttpRequest, media_type: str, ignored_fields: Collection[str]) -> tuple[bytes, bytes]:
    body = rewound_body(request)
    content = _read_within_limit(body)
    if content is not None and media_type == _URLENCODED:
        with suppress(TooManyFieldsSent):
            return b"form", _spell_form(QueryDict(content), MultiValueDict(), ignored_fields)
    if content is not None and (media_type == "application/json" or media_type.endswith("+json")):
        canonical = canonical_json(content, ignored_fields=ignored_fields)
        if canonical is not None:
            return b"json", canonical
    digest = hashlib.file_digest(body, "sha256").digest()
    body.seek(0)
    return b"raw", digest


def _read_within_limit(body: BufferedIOBase) -> bytes | None:
    """Return the content of *body*, or None if it is larger than what Django reads into memory."""
    limit: int | None = django_settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    content = body.read() if limit is None else body.read(limit + 1)
    body.seek(0)
    return content if limit is None or len(content) <= limit else None


def _canonical_form(request: HttpRequest, ignored_fields: Collection[str]) -> bytes:
    if request.method == "POST" or is_consumed(request):
        if is_consumed(request) and not hasattr(request, "_post"):
            raise UsageError(CONSUMED)
        # Django keeps what it, or a framework's parser, has parsed.
        spelled = _spell_form(request.POST, request.FILES, ignored_fields)
        refuse_cut_off(request)
        return spelled
    body = rewound_body(request)
    fields, files = request.parse_file_upload(request.META, body)
    body.seek(0)
    try:
        return _spell_form(fields, files, ignored_fields)
    finally:
        for upload in chain.from_iterable(uploads for _, uploads in files.lists()):
            upload.close()


def _spell_form(
    fields: QueryDict, files: MultiValueDict[str, UploadedFile[Any]], ignored_fields: Collection[str]
) -> bytes:
    """Spell a form by its fields, and by its files' contents: neither boundary nor file names count."""
    digests = []
    for name, uploads in files.lists():
        for upload in uploads:
            digest = hashlib.sha256()
            for chunk in upload.chunks():
                digest.update(chunk)
            upload.seek(0)
            digests.append((name, digest.digest()))
    values = [(name, value.encode(errors="surrogatepass")) for name, values in fields.lists() for value in values]
    spelled = canonical_fields(values, ignored_fields=ignored_fields)
    return len(spelled).to_bytes(8, "big") + spelled + canonical_fields(digests, ignored_fields=ignored_fields)
