"""The admin page of idempotency keys: read-only, but for two actions with a permission each."""

from django_idempotency.admin.pages import IdempotencyKeyAdmin

__all__ = ["IdempotencyKeyAdmin"]
