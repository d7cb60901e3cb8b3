"""What a job is called with: its fingerprint, and the key that a template makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from inspect import Parameter, Signature, signature
from string import Formatter
from typing import Any, Final

from asgiref.sync import iscoroutinefunction
from django.core.serializers.json import DjangoJSONEncoder

from django_idempotency.exceptions import UsageError
from django_idempotency.fingerprint import Fingerprint, canonical_json

# What queues pass before the job's own arguments, by the names that they give it.
_OWNERS: Final = frozenset({"self", "context"})


def check_template(template: str, signature: Signature) -> None:
    """Accept a template that fills its fields from parameters of *signature* alone.

    Raises:
        UsageError: It cannot be read, has no field, or one that is no argument of the job's.
    """
    names = list(signature.parameters)
    if names and names[0] in _OWNERS:
        del names[0]
    try:
        has_fields = any(field is not None for _, field, _, _ in Formatter().parse(template))
        Formatter().vformat(template, (), dict.fromkeys(names, _Anything()))
    except (ValueError, LookupError) as error:
        raise UsageError(
            f"The key template {template!r} cannot be filled ({error}). Its fields must be among the job's arguments: "
            f"{', '.join(names) or 'it has none'}."
        ) from error
    if not has_fields:
        raise UsageError(
            f"The key template {template!r} names no argument, so that all jobs would have one key. Name what tells "
            f"them apart: {', '.join(names) or 'the job takes no argument to do that by; leave key out'}."
        )


def fill_template(template: str, arguments: Mapping[str, Any]) -> str:
    """Return the key that *template* makes of *arguments*.

    Raises:
        UsageError: A field has no value, or a blank one, which many jobs could share.
    """
    try:
        return _KeyFormatter().vformat(template, (), arguments)
    except (LookupError, AttributeError, ValueError) as error:
        raise UsageError(f"The key template {template!r} does not fit this job's arguments ({error!r}).") from error


def without_owner(signature: Signature) -> Signature:
    """Return *signature* without the parameter that takes what the queue passes first."""
    first, *others = signature.parameters.values()
    return signature if first.kind is Parameter.VAR_POSITIONAL else signature.replace(parameters=others)


def without_operation(function: Callable[..., Any]) -> Signature:
    """Return what a job of several steps is enqueued with: all but the operation, which it is given.

    Raises:
        UsageError: It is a coroutine function, or does not take its operation.
    """
    if iscoroutinefunction(function):
        raise UsageError(
            f"@idempotent_task(steps=True) takes no coroutine function, such as {function.__name__}. Write it as a "
            "plain function."
        )
    given = signature(function)
    if "operation" not in given.parameters:
        raise UsageError(
            f"@idempotent_task(steps=True) gives {function.__name__} its operation. Let it take that: "
            f"def {function.__name__}(…, *, operation)."
        )
    return given.replace(parameters=[each for each in given.parameters.values() if each.name != "operation"])


def fingerprint_of(arguments: Mapping[str, Any], *, ignored: Collection[str] = ()) -> Fingerprint:
    """Digest *arguments* by their meaning: by name, however they were passed, and in JSON.

    A date, a decimal number or a UUID means the same as the text that JSON has for it.

    Raises:
        UsageError: One of them is nothing that JSON has.
    """
    kept = {name: value for name, value in arguments.items() if name not in ignored}
    try:
        spelled = json.dumps(kept, cls=DjangoJSONEncoder)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The job's arguments cannot be compared with a duplicate's ({error}). Pass what JSON has, or name the "
            f"others in ignored_arguments."
        ) from error
    return Fingerprint.of(canonical_json(spelled) or spelled.encode())


class _KeyFormatter(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if value is None or value == "":
            raise UsageError(
                f"A field of the key is {value!r}, so that unlike jobs would have one key. Enqueue the job with a "
                f"value, or pass a callable as key."
            )
        return str(super().format_field(value, format_spec))


class _Anything:
    """A value for each template: it has every attribute and item, and any format."""

    def __getattr__(self, name: str) -> _Anything:
        return self

    def __getitem__(self, item: object) -> _Anything:
        return self

    def __format__(self, format_spec: str) -> str:
        return ""
