"""What clients and programmers are told."""

import pytest

from django_idempotency.exceptions import (
    IdempotencyError,
    KeyInvalid,
    KeyMissing,
    KeyReused,
    RequestInProgress,
    ResponseExpired,
    ResponseNotStored,
    UsageError,
)


class TestIdempotencyError:
    @pytest.mark.parametrize(
        ("error", "code", "status", "retryable", "title"),
        [
            (KeyMissing(), "idempotency_key_missing", 400, False, "Idempotency key is missing"),
            (KeyInvalid("…"), "idempotency_key_invalid", 400, False, "Idempotency key is malformed"),
            (
                RequestInProgress(),
                "idempotency_request_in_progress",
                409,
                True,
                "The first request with this idempotency key is still in progress",
            ),
            (
                KeyReused(),
                "idempotency_key_reused",
                409,
                False,
                "Idempotency key was used before with other parameters",
            ),
            (
                ResponseNotStored(201),
                "idempotency_response_not_stored",
                409,
                False,
                "The request was processed, but its response was not stored",
            ),
            (
                ResponseExpired(),
                "idempotency_response_expired",
                409,
                False,
                "The request was processed, but its response is no longer stored",
            ),
        ],
        ids=lambda value: value if isinstance(value, str) and value.startswith("idempotency_") else "",
    )
    def test_public_facts_are_stable(self, error, code, status, retryable, title):
        assert (error.code, error.status, error.retryable, error.title) == (code, status, retryable, title)

    @pytest.mark.parametrize("error", [KeyMissing(), RequestInProgress(), KeyReused(), ResponseExpired()])
    def test_detail_tells_what_to_do(self, error):
        assert error.detail
        assert str(error) == error.detail

    def test_subclass_without_docstring_has_no_title(self):
        class Undocumented(IdempotencyError):
            code = "undocumented"
            status = 409

        assert Undocumented("…").title == ""


class TestResponseNotStored:
    def test_tells_original_status(self):
        error = ResponseNotStored(201)

        assert error.original_status == 201
        assert "201" in error.detail

    def test_operation_without_status(self):
        error = ResponseNotStored()

        assert error.original_status is None
        assert "status" not in error.detail


class TestUsageError:
    def test_is_not_about_a_client(self):
        assert not issubclass(UsageError, IdempotencyError)
