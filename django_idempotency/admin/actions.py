"""What people may do to keys: each by its own permission, after a confirmation, and written to the admin's log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_idempotency import changes

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.functional import _StrPromise

    from django_idempotency.models import IdempotencyKey

# How many keys an action takes at once: they are fields of one form, of which Django takes 1,000.
MOST_KEYS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something to do to keys, and what is said before, about and after it."""

    name: str
    permission: str
    label: _StrPromise
    warning: _StrPromise
    logged: _StrPromise
    done: Callable[[int], str]
    skipped: Callable[[int], str]
    run: Callable[[Sequence[UUID]], AbstractContextManager[list[IdempotencyKey]]]

    def is_allowed(self, request: HttpRequest) -> bool:
        """Tell whether the one who asks has the permission."""
        return request.user.has_perm(f"django_idempotency.{self.permission}")


EXPIRE: Final = Action(
    name="expire",
    permission="expire_idempotencykey",
    label=_("Expire now"),
    warning=_(
        "The same request becomes a new one: when it comes again, it runs, and takes effect once more. The stored "
        "response is not sent again."
    ),
    logged=_("Expired by hand."),
    done=lambda number: ngettext(
        "%d key has expired. Its request may run again.",
        "%d keys have expired. Their requests may run again.",
        number,
    ),
    skipped=lambda number: ngettext(
        "%d key was left as it is: it had expired before, is gone, or is in use.",
        "%d keys were left as they are: they had expired before, are gone, or are in use.",
        number,
    ),
    run=changes.forgotten,
)
ERASE: Final = Action(
    name="erase",
    permission="erase_response",
    label=_("Erase the stored response"),
    warning=_(
        "The key stays: when the request comes again, it does not run, and is told that its response is not stored. "
        "What is erased cannot be brought back."
    ),
    logged=_("Stored response erased."),
    done=lambda number: ngettext(
        "The stored response of %d key is erased.", "The stored responses of %d keys are erased.", number
    ),
    skipped=lambda number: ngettext(
        "%d key was left as it is: it had no stored response, is gone, or is in use.",
        "%d keys were left as they are: they had no stored response, are gone, or are in use.",
        number,
    ),
    run=changes.erased,
)
ACTIONS: Final[Sequence[Action]] = (EXPIRE, ERASE)


def perform(action: Action, ids: Sequence[UUID], *, log: Callable[[IdempotencyKey, str], Any]) -> tuple[str, str]:
    """Do *action* to the keys with these *ids*, and *log* it in the same transaction.

    Return what was done and what was left, in words; either may be empty.
    """
    with action.run(ids) as keys:
        for key in keys:
            log(key, str(action.logged))
    done, left = len(keys), len(ids) - len(keys)
    return action.done(done) % done if done else "", action.skipped(left) % left if left else ""
