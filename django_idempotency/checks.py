"""System checks: each setting is what it must be, and the databases can keep the promise."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import OperationalError, ProgrammingError, router
from django.utils.module_loading import import_string

from django_idempotency import backlog, store
from django_idempotency.conf import settings
from django_idempotency.models import IdempotencyKey
from django_idempotency.requirements import REQUIREMENTS

# The ids are stable: projects silence them by name.
SETTING_IDS: Final = {
    "IDEMPOTENCY_TTL": "django_idempotency.E001",
    "IDEMPOTENCY_REQUIRED": "django_idempotency.E002",
    "IDEMPOTENCY_WAIT": "django_idempotency.E003",
    "IDEMPOTENCY_METHODS": "django_idempotency.E004",
    "IDEMPOTENCY_SCOPE": "django_idempotency.E005",
    "IDEMPOTENCY_KEY_VALIDATOR": "django_idempotency.E006",
    "IDEMPOTENCY_STORED_STATUSES": "django_idempotency.E007",
    "IDEMPOTENCY_STORED_HEADERS": "django_idempotency.E008",
    "IDEMPOTENCY_MAX_RESPONSE_BYTES": "django_idempotency.E009",
    "IDEMPOTENCY_REUSED_STATUS": "django_idempotency.E010",
    "IDEMPOTENCY_RETRY_AFTER": "django_idempotency.E011",
    "IDEMPOTENCY_DOCUMENTATION_URL": "django_idempotency.E012",
    "IDEMPOTENCY_TOMBSTONE_TTL": "django_idempotency.E013",
    "IDEMPOTENCY_PURGE_OVERDUE": "django_idempotency.E015",
    "IDEMPOTENCY_LEASE": "django_idempotency.E016",
}
_CALLABLES: Final = {"IDEMPOTENCY_SCOPE", "IDEMPOTENCY_KEY_VALIDATOR"}


@register
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse each setting that cannot be meant, and each that nobody reads."""
    messages: list[CheckMessage] = [
        Error(problem, id=SETTING_IDS[name]) for name in SETTING_IDS if (problem := _problem_of(name)) is not None
    ]
    unknown = sorted(
        name for name in dir(django_settings) if name.startswith("IDEMPOTENCY_") and name not in SETTING_IDS
    )
    messages += [
        checks.Warning(
            f"{name} is no setting of django-idempotency. Correct its spelling.", id="django_idempotency.W001"
        )
        for name in unknown
    ]
    return messages


@register
def check_sqlite_locks_early(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of SQLite in deferred mode, in which a transaction that has read may be refused its first write."""
    alias = store.database()
    config = django_settings.DATABASES.get(alias, {})
    mode = str(config.get("OPTIONS", {}).get("transaction_mode", "DEFERRED")).upper()
    if not str(config.get("ENGINE", "")).endswith("sqlite3") or mode in {"IMMEDIATE", "EXCLUSIVE"}:
        return []
    return [
        checks.Warning(
            f"The SQLite database {alias!r} begins transactions in {mode} mode: a request that reads before it claims "
            'its key can fail with "database is locked".',
            hint=f'Set DATABASES["{alias}"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE".',
            id="django_idempotency.W002",
        )
    ]


@register
def check_keys_live_with_effects(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of keys on a database to which no other model is written: the two cannot share a transaction."""
    alias = store.database()
    effects = {
        router.db_for_write(model)
        for model in apps.get_models()
        if model._meta.managed and not model.__module__.startswith(("django_idempotency.", "django.contrib."))
    }
    if not effects or alias in effects:
        return []
    return [
        checks.Warning(
            f"Idempotency keys are written to {alias!r}, but no other model is: keys and effects commit separately, "
            "and a crash in between makes a retry run again.",
            hint="Let the database router send IdempotencyKey to the database that the handlers write to.",
            id="django_idempotency.W003",
        )
    ]


@register
def check_waiting_is_possible(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of a wait that never happens: nobody waits inside a transaction, and ATOMIC_REQUESTS opens one first."""
    alias = store.database()
    if _problem_of("IDEMPOTENCY_WAIT") or settings.wait == 0:
        return []
    if not django_settings.DATABASES.get(alias, {}).get("ATOMIC_REQUESTS", False):
        return []
    return [
        checks.Warning(
            f"IDEMPOTENCY_WAIT has no effect on {alias!r}, where ATOMIC_REQUESTS opens a transaction around each view: "
            "concurrent requests are refused at once.",
            hint="Mark guarded views with @transaction.non_atomic_requests: the guard opens a transaction itself.",
            id="django_idempotency.W004",
        )
    ]


@register(Tags.database)
def check_tables_roll_back(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Refuse tables that keep what is rolled back (MyISAM, Aria): their effects would stay without a key."""
    alias = store.database()
    if alias not in (databases or ()):
        return []
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    return [
        Error(
            f"The table {table!r} on {alias!r} has a storage engine that cannot roll back: what a failed request wrote "
            "there stays, and its retry writes it again.",
            hint=f"Convert it: ALTER TABLE {table} ENGINE=InnoDB.",
            id="django_idempotency.E014",
        )
        for table in store.tables_without_transactions(using=alias)
        if table in tables
    ]


@register(Tags.database)
def check_purge_runs(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn when keys that have expired long ago are still there: no purge has run, or none has come to its end."""
    if any(map(_problem_of, ("IDEMPOTENCY_PURGE_OVERDUE", "IDEMPOTENCY_TOMBSTONE_TTL"))):
        return []
    overdue = {alias: since for alias in databases or () if (since := _overdue_since(alias)) is not None}
    return [
        checks.Warning(
            f"A purge of {alias!r} is overdue: a key that expired at {since.isoformat(timespec='minutes')} still takes "
            "room, or keeps its response readable.",
            hint=f"Let manage.py purge_idempotency_keys --database {alias} run often, such as every hour.",
            id="django_idempotency.W005",
        )
        for alias, since in overdue.items()
    ]


def _overdue_since(alias: str) -> datetime | None:
    if not router.allow_migrate_model(alias, IdempotencyKey):
        return None
    try:
        return backlog.overdue_since(alias, allowed=settings.purge_overdue)
    except (OperationalError, ProgrammingError):
        return None  # The table is still to be made: `migrate` runs the checks first.


def _problem_of(name: str) -> str | None:
    value = getattr(django_settings, name, None)
    if value is None:
        return None
    requirement = REQUIREMENTS[name.removeprefix("IDEMPOTENCY_").lower()]
    words = requirement.words
    if name in _CALLABLES and isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as error:
            return f"{name} cannot be imported: {error}. It must be {words}, or the dotted path to one."
    return None if requirement.accepts(value) else f"{name} must be {words}, not {value!r}."
