"""The published specification: what drf-spectacular says of an operation, and how it is guarded.

The app imports this where drf-spectacular is installed; there is nothing to call, and nothing to set.
"""

from __future__ import annotations

from copy import deepcopy
from inspect import getattr_static
from sys import maxsize
from types import new_class
from typing import Any, Final

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.plumbing import ComponentRegistry, ResolvedComponent, get_doc
from rest_framework.schemas.inspectors import ViewInspector
from rest_framework.views import APIView, exception_handler

from django_idempotency.drf import IdempotencyAPIException, IdempotencyMixin
from django_idempotency.exceptions import (
    IdempotencyError,
    KeyInvalid,
    KeyMissing,
    KeyReused,
    OutcomeUncertain,
    RequestInProgress,
    ResponseExpired,
    ResponseNotStored,
)
from django_idempotency.guards import may_guard, specification_of
from django_idempotency.http import KEY_HEADER
from django_idempotency.responses import REPLAYED_HEADER, status_of
from django_idempotency.specification import Specification

_PURPOSE: Final = (
    "Makes the request safe to send again: choose a key that is new for each operation, and send the same one on each "
    "retry."
)


# Note [The view's schema, seen through ours]
# What describes a view is, in drf-spectacular, one of four: the project's class, the view's own `schema`, one that
# as_view() or @action was given, or what @extend_schema made of any of these; the last ones are set on the view's
# instance only while the specification is made. So what is replaced is the descriptor that all of them are read
# through. `@extend_schema(responses=…)` replaces what it is given: we add to the operation that comes out of it.
#
# Of all extensions that match a view, drf-spectacular asks one, the first. Ours matches every view and stands in front,
# so it asks the next one itself.
class GuardedViewExtension(OpenApiViewExtension):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Let each view's schema say how its operations are guarded."""

    target_class = APIView
    match_subclasses = True
    priority = maxsize

    def view_replacement(self) -> type[APIView]:
        """Return what another extension puts in place of the view, else the view; described by our schema."""
        view: type[APIView] = self.target
        for extension in sorted(self._registry, key=lambda extension: extension.priority, reverse=True):
            if extension is not type(self) and extension._matches(view):
                view = extension(self.target_callback).view_replacement()
                break
        return _described(view, self.target) if may_guard(self.target) else view


class GuardedSchema(ViewInspector):
    """Stands in for the `schema` of a view class."""

    def __init__(self, described: type[APIView], guarded: type[APIView]) -> None:
        super().__init__()
        self.original = getattr_static(described, "schema")
        self.guarded = guarded

    def __get__(self, instance: APIView | None, owner: type[APIView]) -> Any:
        """Return what describes this view, and how it is guarded."""
        if instance is None:
            return self.original.__get__(None, owner)
        own = instance in self.instance_schemas
        schema = self.instance_schemas[instance] if own else self.original.__get__(instance, owner)
        # Another extension's view has handlers of its own, for their descriptions alone.
        view = self.guarded()
        vars(view).update(vars(instance))
        return GuardedOperations(schema, view)


class GuardedOperations:
    """An AutoSchema whose operations say how they are guarded."""

    def __init__(self, schema: Any, view: APIView) -> None:
        self._schema = schema
        self._view = view

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schema, name)

    @property  # type: ignore[misc]  # isinstance() is to find the schema's own class
    def __class__(self) -> type:
        kind: type = self._schema.__class__  # A weak proxy tells the class of what it stands for.
        return kind

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: ComponentRegistry
    ) -> dict[str, Any] | None:
        """Return the operation, with all that the draft standard asks to publish."""
        # A copy: an author's own operation is there for good, and we add to it each time.
        operation: dict[str, Any] | None = deepcopy(
            self._schema.get_operation(path, path_regex, path_prefix, method, registry)
        )
        specification = specification_of(self._view, method, getattr(self._view, "action_map", None))
        if not operation:
            return None
        self._hide_mixin(operation)
        if specification is None:
            return operation
        operation["responses"] = {str(status): body for status, body in operation.get("responses", {}).items()}
        _mark_replays(operation["responses"], specification)
        _add_refusals(operation["responses"], specification, self._media_types(registry))
        _add_parameter(operation.setdefault("parameters", []), specification)
        return operation

    def _hide_mixin(self, operation: dict[str, Any]) -> None:
        """Do not let a view without a docstring be described by the mixin's, which is for programmers."""
        if operation.get("description") == get_doc(IdempotencyMixin):
            mro = type(self._view).__mro__
            description = get_doc(mro[mro.index(IdempotencyMixin) + 1])
            if description:
                operation["description"] = description
            else:
                del operation["description"]

    def _media_types(self, registry: ComponentRegistry) -> list[str]:
        """Return the media types of a refusal; none where the project's handler decides what is in it."""
        if self._view.get_exception_handler() is not exception_handler:
            return []
        registry.register_on_missing(_refusal())
        media_types: list[str] = self._schema.map_renderers("media_type")
        return media_types


def _described(view: Any, guarded: type[APIView]) -> type[APIView]:
    """Return a view class like *view*; the same one each time, as drf-spectacular counts them to guess a prefix."""
    if "_idempotency_described" not in vars(view):
        attributes = {name: getattr(view, name) for name in ("__doc__", "__module__", "__qualname__")}
        attributes["schema"] = GuardedSchema(view, guarded)
        view._idempotency_described = new_class(
            view.__name__, (view,), exec_body=lambda namespace: namespace.update(attributes)
        )
    described: type[APIView] = view._idempotency_described
    return described


def _add_parameter(parameters: list[dict[str, Any]], specification: Specification) -> None:
    if any(parameter.get("name", "").lower() == KEY_HEADER.lower() for parameter in parameters):
        return  # The author's own words.
    parameters.append(
        {
            "in": "header",
            "name": KEY_HEADER,
            "description": "\n".join([_PURPOSE, "", *(f"- {sentence}" for sentence in specification.sentences)]),
            "required": bool(specification.required),
            "schema": specification.key_schema,
        }
    )


def _mark_replays(responses: dict[str, Any], specification: Specification) -> None:
    for status, response in responses.items():
        # "default" and "2XX" are for many statuses, some of them stored.
        stored = not status.isdigit() or specification.policy.stores_status(int(status))
        if stored and "$ref" not in response:
            response.setdefault("headers", {})[REPLAYED_HEADER] = {
                "description": "Present when this is the stored response to an earlier request with the same key.",
                "schema": {"type": "string", "enum": ["true"]},
            }


def _add_refusals(responses: dict[str, Any], specification: Specification, media_types: list[str]) -> None:
    for status, errors in _refusals(specification).items():
        response = responses.setdefault(status, {})
        if "$ref" in response:
            continue  # It is described elsewhere, for other operations as well.
        codes = "\n".join(f"- `{error.code}`: {error.title}." for error in errors)
        response["description"] = "\n\n".join(filter(None, [str(response.get("description", "")), codes]))
        if retryable := " and ".join(f"`{error.code}`" for error in errors if error.retryable):
            response.setdefault("headers", {})["Retry-After"] = {
                "description": f"With {retryable}: after how many seconds to send the same request again.",
                "schema": {"type": "integer", "minimum": 1},
            }
        for media_type in media_types:
            content = response.setdefault("content", {}).setdefault(media_type, {})
            ref = _refusal().ref
            content["schema"] = {"anyOf": [content["schema"], ref]} if "schema" in content else ref
            examples = {error.code: {"summary": error.title, "value": {"detail": error.detail}} for error in errors}
            content["examples"] = {**content.get("examples", {}), **examples}


def _refusals(specification: Specification) -> dict[str, list[IdempotencyError]]:
    """Return an example of each refusal, by its status."""
    errors: list[IdempotencyError] = [KeyInvalid(specification.key_rule)]
    if specification.required is not False:
        errors.append(KeyMissing())
    errors += [RequestInProgress(), KeyReused(), ResponseNotStored(201), ResponseExpired()]
    if specification.policy.steps:
        errors.append(OutcomeUncertain())
    refusals: dict[str, list[IdempotencyError]] = {}
    for error in errors:
        refusals.setdefault(str(status_of(error)), []).append(error)
    return refusals


def _refusal() -> ResolvedComponent:
    """Return the body that DRF's own exception handler makes of a refusal."""
    return ResolvedComponent(  # type: ignore[no-untyped-call]
        name="IdempotencyRefusal",
        type=ResolvedComponent.SCHEMA,
        object=IdempotencyAPIException,
        schema={"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]},
    )
