"""What a client did wrong, and what the programmer did wrong: two families, nothing else."""

from __future__ import annotations

from typing import ClassVar


class IdempotencyError(Exception):
    """The request was refused, and nothing ran.

    The docstring of each subclass is its public title. `retryable` tells whether the same request with the
    same key may be sent again; `status` is the answer's default HTTP status
    (draft-ietf-httpapi-idempotency-key-header, section 2.7).
    """

    code: ClassVar[str]
    status: ClassVar[int]
    retryable: ClassVar[bool] = False

    detail: str
    """What happened, and what the client can do about it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def title(self) -> str:
        """The short summary that is the same for every occurrence (RFC 9457, section 3.1.3)."""
        return (type(self).__doc__ or "").partition("\n")[0].rstrip(".")


class KeyMissing(IdempotencyError):
    """Idempotency key is missing."""

    code = "idempotency_key_missing"
    status = 400

    def __init__(
        self,
        detail: str = (
            "This endpoint requires an Idempotency-Key header. Send one that is new for each operation, such as a "
            "UUID, and the same one on each retry."
        ),
    ) -> None:
        super().__init__(detail)


class KeyInvalid(IdempotencyError):
    """Idempotency key is malformed."""

    code = "idempotency_key_invalid"
    status = 400


class RequestInProgress(IdempotencyError):
    """The first request with this idempotency key is still in progress."""

    code = "idempotency_request_in_progress"
    status = 409
    retryable = True

    def __init__(
        self,
        detail: str = (
            "A request with this Idempotency-Key is still being processed. Send the same request again after the "
            "time in Retry-After."
        ),
    ) -> None:
        super().__init__(detail)


class KeyReused(IdempotencyError):
    """Idempotency key was used before with other parameters."""

    code = "idempotency_key_reused"
    status = 409

    def __init__(
        self,
        detail: str = (
            "This Idempotency-Key belongs to an earlier request with another method, path, query or body. Use a new "
            "key for a new operation."
        ),
    ) -> None:
        super().__init__(detail)


class ResponseNotStored(IdempotencyError):
    """The request was processed, but its response was not stored."""

    code = "idempotency_response_not_stored"
    status = 409

    original_status: int | None

    def __init__(self, original_status: int | None = None) -> None:
        self.original_status = original_status
        answered = "" if original_status is None else f" and answered with status {original_status}"
        super().__init__(
            f"The request with this Idempotency-Key was processed{answered}; its response is not stored, and it "
            "will not run again. Read the result from the resource itself."
        )


class ResponseExpired(IdempotencyError):
    """The request was processed, but its response is no longer stored."""

    code = "idempotency_response_expired"
    status = 409

    def __init__(
        self,
        detail: str = (
            "The request with this Idempotency-Key was processed; its response has expired, and it will not run "
            "again. Read the result from the resource itself, or use a new key for a new operation."
        ),
    ) -> None:
        super().__init__(detail)


class OutcomeUncertain(IdempotencyError):
    """It is not known whether a part of the operation has happened."""

    code = "idempotency_outcome_uncertain"
    status = 409
    retryable = True

    def __init__(
        self,
        detail: str = (
            "The operation was interrupted while another system was called, and it is not known whether that call has "
            "taken effect. It will not be made again before that is settled. Send the same request later, with the "
            "same Idempotency-Key; do not use a new one."
        ),
    ) -> None:
        super().__init__(detail)


class UsageError(Exception):
    """The package was used in a way that it cannot make safe; the message says what to do instead."""


class StepsChanged(UsageError):
    """The handler asks for other steps, or in another order, than an earlier attempt at the operation has recorded."""
