"""Each setting has a check of its own; so has each way in which a database cannot keep the promise."""

import pytest
from django.core import checks
from django.core.checks import Tags, run_checks
from django.core.management import call_command
from django.db import connection

from django_idempotency.checks import SETTING_IDS
from django_idempotency.requirements import REQUIREMENTS
from tests.test_requirements import ACCEPTED, REFUSED

# Django's own checks ask SQLite what it can do, on every alias.
pytestmark = pytest.mark.django_db(databases=["default", "other"])

NAMES = {name: name.removeprefix("IDEMPOTENCY_").lower() for name in SETTING_IDS}


def run(**options):
    """Return what all checks say about idempotency, by id."""
    return {message.id: message for message in run_checks(**options) if str(message.id).startswith("django_idem")}


class TestSystemChecks:
    def test_project_of_these_tests_is_faultless(self):
        assert run() == {}


class TestSettings:
    def test_every_setting_is_checked(self):
        arguments_only = {"using", "reruns", "ignored_fields", "steps", "keep_request", "keep_arguments"}

        assert set(NAMES.values()) == set(REQUIREMENTS) - arguments_only
        assert len(set(SETTING_IDS.values())) == len(SETTING_IDS)

    @pytest.mark.parametrize("name", SETTING_IDS)
    def test_what_cannot_be_meant_is_an_error_with_the_settings_own_id(self, name, settings):
        for value in REFUSED[NAMES[name]]:
            setattr(settings, name, value)

            messages = run()

            assert list(messages) == [SETTING_IDS[name]], value
            assert messages[SETTING_IDS[name]].level == checks.ERROR
            assert name in messages[SETTING_IDS[name]].msg

    @pytest.mark.parametrize("name", SETTING_IDS)
    def test_what_is_accepted_is_no_error(self, name, settings):
        for value in ACCEPTED[NAMES[name]]:
            setattr(settings, name, value)

            assert run() == {}, value

    @pytest.mark.parametrize("name", ["IDEMPOTENCY_SCOPE", "IDEMPOTENCY_KEY_VALIDATOR"])
    @pytest.mark.parametrize("path", ["tests.test_conf.missing", "no.such.module", "nothing"])
    def test_dead_path_is_an_error(self, name, path, settings):
        setattr(settings, name, path)

        messages = run()

        assert list(messages) == [SETTING_IDS[name]]
        assert "cannot be imported" in messages[SETTING_IDS[name]].msg

    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("IDEMPOTENCY_SCOPE", "tests.test_conf.tenant"),
            ("IDEMPOTENCY_KEY_VALIDATOR", "django_idempotency.keys.validate_uuid"),
        ],
    )
    def test_living_path_is_no_error(self, name, path, settings):
        setattr(settings, name, path)

        assert run() == {}

    def test_path_to_what_cannot_be_called_is_an_error(self, settings):
        settings.IDEMPOTENCY_SCOPE = "tests.test_checks.NAMES"

        assert list(run()) == ["django_idempotency.E005"]

    def test_setting_that_nobody_reads_is_a_warning(self, settings):
        settings.IDEMPOTENCY_TLL = 60

        messages = run()

        assert list(messages) == ["django_idempotency.W001"]
        assert "IDEMPOTENCY_TLL" in messages["django_idempotency.W001"].msg


class TestSqliteLocksEarly:
    @pytest.mark.parametrize("options", [{}, {"transaction_mode": None}, {"transaction_mode": "DEFERRED"}])
    def test_deferred_mode_is_a_warning(self, options, settings, monkeypatch):
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "db", "OPTIONS": options}
        monkeypatch.setitem(settings.DATABASES, "default", database)

        messages = run()

        assert list(messages) == ["django_idempotency.W002"]
        assert "transaction_mode" in messages["django_idempotency.W002"].hint

    @pytest.mark.parametrize("mode", ["IMMEDIATE", "immediate", "EXCLUSIVE"])
    def test_early_mode_is_no_warning(self, mode, settings, monkeypatch):
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "db", "OPTIONS": {"transaction_mode": mode}}
        monkeypatch.setitem(settings.DATABASES, "default", database)

        assert run() == {}

    @pytest.mark.parametrize("engine", ["postgresql", "mysql"])
    def test_other_engines_have_no_such_mode(self, engine, settings, monkeypatch):
        database = {"ENGINE": f"django.db.backends.{engine}", "NAME": "db"}
        monkeypatch.setitem(settings.DATABASES, "default", database)

        assert run() == {}


class KeysElsewhere:
    """Route the keys to another database than the effects."""

    def db_for_write(self, model, **hints):
        return "other" if model._meta.app_label == "django_idempotency" else "default"


class EverythingElsewhere:
    def db_for_write(self, model, **hints):
        return "other"


class TestKeysLiveWithEffects:
    def test_keys_on_another_database_are_a_warning(self, settings):
        settings.DATABASE_ROUTERS = ["tests.test_checks.KeysElsewhere"]

        messages = run()

        assert list(messages) == ["django_idempotency.W003"]
        assert "'other'" in messages["django_idempotency.W003"].msg

    def test_keys_and_effects_on_another_database_are_no_warning(self, settings):
        settings.DATABASE_ROUTERS = ["tests.test_checks.EverythingElsewhere"]

        assert run() == {}


class TestWaitingIsPossible:
    def test_wait_under_atomic_requests_is_a_warning(self, settings, monkeypatch):
        settings.IDEMPOTENCY_WAIT = 1
        monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)

        assert list(run()) == ["django_idempotency.W004"]

    @pytest.mark.parametrize(("wait", "atomic"), [(1, False), (0, True)])
    def test_one_of_them_alone_is_no_warning(self, wait, atomic, settings, monkeypatch):
        settings.IDEMPOTENCY_WAIT = wait
        monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", atomic)

        assert run() == {}

    def test_broken_wait_is_reported_once(self, settings, monkeypatch):
        settings.IDEMPOTENCY_WAIT = "long"
        monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)

        assert list(run()) == ["django_idempotency.E003"]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestTablesRollBack:
    def test_tables_of_these_tests_do(self):
        assert run(tags=[Tags.database], databases=["default"]) == {}

    @pytest.mark.engine("mariadb")
    @pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
    def test_storage_engine_without_rollback_is_an_error(self, engine):
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE app_effect ENGINE={engine}")
        try:
            messages = run(tags=[Tags.database], databases=["default"])
            elsewhere = run(tags=[Tags.database], databases=["other"])
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE app_effect ENGINE=InnoDB")

        assert list(messages) == ["django_idempotency.E014"]
        assert "'app_effect'" in messages["django_idempotency.E014"].msg
        assert "ENGINE=InnoDB" in messages["django_idempotency.E014"].hint
        assert elsewhere == {}

    @pytest.mark.engine("mariadb")
    def test_tables_of_others_do_not_count(self):
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE stranger (id int) ENGINE=MyISAM")
        try:
            messages = run(tags=[Tags.database], databases=["default"])
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE stranger")

        assert messages == {}

    def test_manage_py_check_asks_the_database(self):
        call_command("check", databases=["default"])
