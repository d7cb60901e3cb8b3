"""The database as it was: every run of a request begins in the same state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.db import connections, models, router, transaction

_Rows = dict[Any, models.Model]


class Snapshot:
    """The rows of all models' tables, to be put back.

    What is in no model's table stays as it is; so do sequences: primary keys go on counting. Rows are put back as
    fixtures are loaded: receivers of `pre_save` and `post_save` are called with `raw=True`.
    """

    def __init__(self, aliases: Iterable[str]) -> None:
        self._tables = [(alias, model, _rows(alias, model)) for alias in aliases for model in _models_on(alias)]

    def restore(self) -> None:
        """Delete the rows that were not there, and put back those that are gone or changed."""
        changed: dict[str, list[tuple[type[models.Model], _Rows, _Rows]]] = {}
        for alias, model, rows in self._tables:
            now = _rows(alias, model)
            if _values(now) != _values(rows):
                changed.setdefault(alias, []).append((model, rows, now))
        for alias, tables in changed.items():
            # The order of the tables does not matter while nobody looks at foreign keys.
            with connections[alias].constraint_checks_disabled(), transaction.atomic(using=alias):
                for model, rows, now in tables:
                    _restore(alias, model, rows, now)


def _models_on(alias: str) -> Iterator[type[models.Model]]:
    tables = set(connections[alias].introspection.table_names())
    for model in apps.get_models(include_auto_created=True):
        options = model._meta
        if options.can_migrate(alias) and router.allow_migrate_model(alias, model) and options.db_table in tables:
            yield model


def _rows(alias: str, model: type[models.Model]) -> _Rows:
    return {row.pk: row for row in model._base_manager.using(alias).all()}


def _values(rows: _Rows) -> dict[Any, list[Any]]:
    return {pk: _values_of(row) for pk, row in rows.items()}


def _values_of(row: models.Model) -> list[Any]:
    return [getattr(row, field.attname) for field in row._meta.local_concrete_fields]


def _restore(alias: str, model: type[models.Model], rows: _Rows, now: _Rows) -> None:
    stale = [pk for pk, row in now.items() if pk not in rows or _values_of(row) != _values_of(rows[pk])]
    if stale:
        # Not delete(): it would collect what refers to them, and call receivers.
        table = model._base_manager.using(alias).filter(pk__in=stale)
        table._raw_delete(alias)
    for pk, row in rows.items():
        if pk not in now or pk in stale:
            row.save_base(raw=True, force_insert=True, using=alias)
