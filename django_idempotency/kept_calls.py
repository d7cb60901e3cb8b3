"""A call of a function that is kept until its operation ends, so that it can be made again without its queue or broker.

Note [A kept call is signed]
Whoever can write to the table could otherwise have any function called, with any arguments. The signature is of the
project's SECRET_KEY; SECRET_KEY_FALLBACKS are tried, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from importlib import import_module
from inspect import unwrap
from types import FunctionType
from typing import Any, Final

from django.core.signing import BadSignature, Signer

from django_idempotency.exceptions import UsageError

_MARK: Final = "call "
_SALT: Final = "django_idempotency.kept_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCall:
    """A function, which a module has by its name, and arguments, which JSON has; *options* are of who keeps it."""

    function: Callable[..., Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def call_of(handler: Callable[..., Any]) -> KeptCall:
    """Return what a call of *handler* without arguments is: a partial holds a function, and its arguments."""
    if isinstance(handler, partial):
        return KeptCall(function=handler.func, args=handler.args, kwargs=handler.keywords)
    return KeptCall(function=handler)


def keep_call(call: KeptCall, **options: Any) -> str:
    """Return *call* as text, with the *options* of who keeps it.

    Raises:
        UsageError: Another process could not find the function, or would be given other arguments.
    """
    module, name = call.function.__module__, getattr(call.function, "__qualname__", "")
    found = _find(module, name)
    if module == "__main__" or found is None or unwrap(found) is not unwrap(call.function):
        raise UsageError(
            f"keep_arguments keeps functions that another process finds by module and name, and {call.function!r} is "
            "none. Define it at the top of a module; for a message, pass functools.partial(function, …), no lambda."
        )
    kept = {"function": [module, name], "args": list(call.args), "kwargs": dict(call.kwargs), "options": options}
    try:
        is_kept = json.loads(json.dumps(kept)) == kept
    except (TypeError, ValueError, RecursionError):
        is_kept = False
    if not is_kept:
        raise UsageError(
            f"keep_arguments keeps arguments that come out of JSON as they went in, and some of {name}'s do not. Pass "
            "text, numbers, lists and dicts with text as keys; or leave keep_arguments out."
        )
    return _MARK + Signer(salt=_SALT).sign_object(kept)


def is_kept_call(kept: str) -> bool:
    """Tell whether *kept* is the text of a call."""
    return kept.startswith(_MARK)


def load_call(kept: str) -> KeptCall:
    """Return the call that *kept* is the text of.

    Raises:
        UsageError: Its function is gone, or the text is none that this project has signed.
    """
    try:
        found = Signer(salt=_SALT).unsign_object(kept.removeprefix(_MARK))
    except BadSignature as error:
        raise UsageError("The kept call is none that this project has signed. Was SECRET_KEY changed?") from error
    function = _find(*found["function"])
    if function is None:
        raise UsageError(
            f"The function {'.'.join(found['function'])} is gone. Bring it back under that name, or let the key expire "
            "in the admin."
        )
    return KeptCall(function=function, args=found["args"], kwargs=found["kwargs"], options=found["options"])


def _find(module: str, name: str) -> Callable[..., Any] | None:
    """Return the function of that *name*, or the one behind a queue's task of that name."""
    try:
        found: Any = reduce(getattr, name.split("."), import_module(module))
    except (ImportError, AttributeError):
        return None
    # Celery's task calls it `run`, Django's `func`.
    candidates = (found, getattr(found, "run", None), getattr(found, "func", None))
    return next((each for each in candidates if isinstance(each, FunctionType)), None)
