"""The project's endpoints, as its addresses tell: which are guarded, and which take effect once per attempt."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.contrib.admindocs.utils import (
    remove_non_capturing_groups,
    replace_metacharacters,
    replace_named_groups,
    replace_unnamed_groups,
)
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern

from django_idempotency.guards import View
from django_idempotency.specification import Specification, name_of, spell

# PUT and DELETE leave things as the first one did; the others have no effects.
_UNSAFE_TO_REPEAT: Final = frozenset({"POST", "PATCH"})
# REST framework's routers have each view once more, for addresses that end in `.json` and the like.
_FORMAT_SUFFIX: Final = re.compile(r"<(?:format|drf_format_suffix\w*:format)>/?$")
_COLUMNS: Final = ("method", "path", "required", "ttl", "scope", "wait")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method at one address; guarded if it has a specification."""

    method: str
    path: str
    view: str
    specification: Specification | None
    exempt: bool

    @property
    def lacks_keys(self) -> bool:
        """Whether a retry takes effect again, and nobody has said that it may."""
        return self.method in _UNSAFE_TO_REPEAT and self.specification is None and not self.exempt


def endpoints(*, exempt: Collection[str] = ()) -> list[Endpoint]:
    """Return every endpoint of the project, in the order of its addresses.

    *exempt* are namespaces, such as "admin", and beginnings of paths, such as "/static/", that need no keys.
    """
    found = []
    for path, namespace, view in _views(get_resolver().url_patterns):
        passed = any(_covers(place, path, namespace) for place in exempt)
        found += [
            Endpoint(
                method=method,
                path=path,
                view=view.name,
                specification=view.specification_of(method),
                exempt=passed or view.is_exempt(method),
            )
            for method in view.methods
        ]
    return found


def as_table(found: Iterable[Endpoint]) -> str:
    """Return the guarded ones as columns of text."""
    rows = [[name.upper() for name in _COLUMNS], *map(_cells, _facts(found))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_markdown(found: Iterable[Endpoint]) -> str:
    """Return the guarded ones as a table in Markdown."""
    rows = [list(_COLUMNS), ["---"] * len(_COLUMNS), *map(_cells, _facts(found))]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("<", "\\<") for cell in row) + " |" for row in rows
    )


def as_json(found: Iterable[Endpoint]) -> str:
    """Return the guarded ones as a list in JSON: durations are seconds, and null is what depends on the request."""
    return json.dumps(_facts(found), indent=2)


def _facts(found: Iterable[Endpoint]) -> list[dict[str, Any]]:
    return [
        {
            "method": endpoint.method,
            "path": endpoint.path,
            "required": specification.required,
            "ttl": None if specification.ttl is None else specification.ttl.total_seconds(),
            "scope": "user" if specification.scope is None else name_of(specification.scope),
            "wait": specification.wait,
            "view": endpoint.view,
        }
        for endpoint in found
        if (specification := endpoint.specification) is not None
    ]


def _cells(facts: dict[str, Any]) -> list[str]:
    required = {True: "yes", False: "no", None: "varies"}[facts["required"]]
    wait = "no" if facts["wait"] == 0 else _duration(facts["wait"])
    return [facts["method"], facts["path"], required, _duration(facts["ttl"]), facts["scope"], wait]


def _duration(seconds: float | None) -> str:
    return "varies" if seconds is None else spell(timedelta(seconds=seconds))


def _views(
    patterns: Iterable[URLPattern | URLResolver], path: str = "/", namespace: str = ""
) -> Iterator[tuple[str, str, View]]:
    seen = set()
    for pattern in patterns:
        here = path + _spelled(pattern.pattern)
        if isinstance(pattern, URLResolver):
            name = pattern.namespace
            yield from _views(pattern.url_patterns, here, f"{namespace}{name}:" if name else namespace)
        elif not (_FORMAT_SUFFIX.search(here) and id(pattern.callback) in seen):
            seen.add(id(pattern.callback))
            yield here, namespace, View(pattern.callback)


def _spelled(pattern: Any) -> str:
    """Return a part of an address with its arguments as names, such as `charges/<pk>/`."""
    if not isinstance(pattern, RegexPattern):
        return str(pattern)
    simplified = replace_unnamed_groups(replace_named_groups(remove_non_capturing_groups(str(pattern))))
    return re.sub(r"\\(\W)", r"\1", replace_metacharacters(simplified))


def _covers(place: str, path: str, namespace: str) -> bool:
    return path.startswith(place) if place.startswith("/") else namespace.startswith(f"{place}:")
