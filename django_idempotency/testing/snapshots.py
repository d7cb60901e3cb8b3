"""The database as it was: every run of a request begins in the same state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.db import connections, models, router, transaction

# The values of its local fields, by the primary key of each row.
_Rows = dict[Any, list[Any]]


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
            if now != rows:
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
    # No instances: all tables are read after each run, and most rows are as they were.
    found = model._base_manager.using(alias).values_list("pk", *_attributes(model))
    return {pk: values for pk, *values in found}


def _attributes(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.local_concrete_fields]


def _restore(alias: str, model: type[models.Model], rows: _Rows, now: _Rows) -> None:
    stale = [pk for pk, values in now.items() if rows.get(pk) != values]
    if stale:
        # Not delete(): it would collect what refers to them, and call receivers.
        table = model._base_manager.using(alias).filter(pk__in=stale)
        table._raw_delete(alias)
    for pk, values in rows.items():
        if now.get(pk) != values:
            row = model(**dict(zip(_attributes(model), values, strict=True)))
            row.save_base(raw=True, force_insert=True, using=alias)
