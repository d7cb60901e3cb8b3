"""Empty the tables that a test has written to."""

from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections
from django.db.transaction import atomic

# What migrations fill, and no test changes.
KEPT = frozenset({"auth_permission", "django_content_type", "django_migrations"})


class Command(BaseCommand):
    """Takes the place of Django's own, which Django calls after each test that commits.

    That one truncates every table, and has all permissions made anew, which takes longer than most tests.
    """

    stealth_options = ("interactive", "database", "reset_sequences", "allow_cascade", "inhibit_post_migrate")

    def handle(self, *, database: str, **options: Any) -> None:
        connection = connections[database]
        names = sorted(set(connection.introspection.django_table_names(only_existing=True)) - KEPT)
        tables = [connection.ops.quote_name(name) for name in names]
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + ", ".join(f"EXISTS (SELECT 1 FROM {table})" for table in tables))
            written = [table for table, has_rows in zip(tables, cursor.fetchone(), strict=True) if has_rows]
            if written:
                with atomic(using=database), connection.constraint_checks_disabled():
                    for table in written:
                        cursor.execute(f"DELETE FROM {table}")
