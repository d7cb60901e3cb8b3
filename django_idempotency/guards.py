"""What guards a view, and which methods it takes: asked of the view itself, without a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import getattr_static, getclosurevars, isfunction, unwrap
from typing import Any, Final

from django.views import generic

from django_idempotency.specification import Specification

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
# The mixin's questions whose answers are published, by their names in a specification.
_QUESTIONS: Final = {
    "required": "is_idempotency_required",
    "ttl": "get_idempotency_ttl",
    "wait": "get_idempotency_wait",
    "scope": "get_idempotency_scope",
    "key": "get_idempotency_key",
}


class View:
    """A view as an address has it: a function, or what `as_view()` makes of a class."""

    def __init__(self, callback: Callable[..., Any]) -> None:
        while isinstance(callback, partial):
            callback = callback.func
        self.callback = callback
        kind = getattr(callback, "cls", None) or getattr(callback, "view_class", None)
        options = getattr(callback, "initkwargs", None) or getattr(callback, "view_initkwargs", None) or {}
        # As it is for each request: the arguments of as_view() and of @action become attributes.
        self.instance = kind(**options) if isinstance(kind, type) and issubclass(kind, generic.View) else None
        self.actions: Mapping[str, str] | None = getattr(callback, "actions", None)

    @property
    def name(self) -> str:
        """Where the view is found, as a dotted name."""
        named: Any = self.callback if self.instance is None else type(self.instance)
        if not hasattr(named, "__name__"):
            named = type(named)
        return f"{named.__module__}.{named.__name__}"

    @property
    def methods(self) -> list[str]:
        """The HTTP methods that it takes: all, for a function that does not say so by `@require_http_methods`."""
        names = _required_methods(self.callback)
        if self.instance is not None:
            names &= {name.upper() for name in self.instance.http_method_names}
            # Without any handler, the view's own dispatch() does the work.
            names &= {name for name in METHODS if handler_of(self.instance, name, self.actions)} or names
        return [name for name in METHODS if name in names]

    def specification_of(self, method: str) -> Specification | None:
        """Return how requests of this HTTP *method* are guarded, or None if they are not."""
        outer = _specification_by_decorator(self.callback, method)
        if outer is not None or self.instance is None:
            return outer
        return specification_of(self.instance, method, self.actions)

    def is_exempt(self, method: str) -> bool:
        """Tell whether the view, its class or its handler of this HTTP *method* is marked to need no keys."""
        marked: list[Any] = [self.callback]
        if self.instance is not None:
            marked += [self.instance, handler_of(self.instance, method, self.actions)]
        return any(getattr(each, "idempotency_exempt", False) for each in marked)


def specification_of(instance: Any, method: str, actions: Mapping[str, str] | None = None) -> Specification | None:
    """Return how requests of this HTTP *method* to a class-based view are guarded, or None if they are not.

    *actions* are the names of a viewset's handlers, by HTTP method in lower case.
    """
    handler = handler_of(instance, method, actions)
    outer = _specification_by_decorator(type(instance).dispatch, method)
    if outer is not None or handler is None:
        return outer
    if hasattr(handler, "idempotency_policy"):
        # As in the mixin: a decorated handler guards itself, by its own arguments.
        return _specification_by_decorator(handler, method)
    return _specification_by_mixin(instance, method)


def may_guard(kind: type) -> bool:
    """Tell whether a view class has the mixin, or anything decorated."""
    attributes = [getattr_static(kind, name, None) for name in dir(kind)]
    handlers = [handler_of(kind, method) for method in METHODS]
    return hasattr(kind, "idempotency_required") or any(
        hasattr(attribute, "idempotency_policy") for attribute in attributes + handlers
    )


def handler_of(view: Any, method: str, actions: Mapping[str, str] | None = None) -> Any:
    """Return what handles this HTTP *method* in a class-based view, or None."""
    name = method.lower() if actions is None else actions.get(method.lower())
    handler = None if name is None else getattr(view, name, None)
    return None if handler is None else _function_in(handler)


def _specification_by_decorator(guarded: Any, method: str) -> Specification | None:
    policy = getattr(guarded, "idempotency_policy", None)
    return Specification(policy=policy) if policy is not None and policy.guards(method) else None


def _specification_by_mixin(instance: Any, method: str) -> Specification | None:
    if not hasattr(instance, "idempotency_required"):
        return None
    from rest_framework.views import APIView  # noqa: PLC0415 - an extra; the mixin comes from nowhere else

    from django_idempotency.drf import IdempotencyMixin, policy_of  # noqa: PLC0415 - likewise

    policy = policy_of(instance)
    # In another view than DRF's, nothing calls the mixin.
    if not isinstance(instance, APIView) or not policy.guards(method):
        return None
    answers = {name: getattr(type(instance), question) for name, question in _QUESTIONS.items()}
    overrides = {
        name: answer for name, answer in answers.items() if answer is not getattr(IdempotencyMixin, _QUESTIONS[name])
    }
    return Specification(policy=policy, overrides=overrides)


# Note [What stands below @api_view]
# DRF makes a class of the function, and each handler of that class calls it; the function itself is named nowhere
# but in the handlers' closure.
def _function_in(handler: Any) -> Any:
    inner = unwrap(handler)  # @extend_schema_view wraps it.
    if getattr(inner, "__module__", None) == "rest_framework.decorators":
        return getclosurevars(inner).nonlocals.get("func", handler)
    return handler


def _required_methods(callback: Any) -> set[str]:
    """Return what `@require_http_methods` lets pass, at whatever depth of decorators it stands."""
    names = set(METHODS)
    while isfunction(callback):
        names &= set(getclosurevars(callback).nonlocals.get("request_method_list", METHODS))
        callback = getattr(callback, "__wrapped__", None)
    return names
