"""The pytest plugin: fixtures that see to real commits, a summary, and nothing else."""

import os
import subprocess
import sys
import tomllib

import pytest
from django.db import connections

from django_idempotency.testing import NotExactlyOnce
from tests import doors
from tests.app.models import Effect
from tests.server import ROOT
from tests.testing import mistakes
from tests.testing.requests import sending


def plain(request):
    Effect.objects.create(label="sold")
    return mistakes.done()


class TestFixtures:
    def test_commits_are_real(self, assert_exactly_once):
        assert not any(connection.in_atomic_block for connection in connections.all())
        assert_exactly_once(sending(doors.function(plain)), effects=Effect.objects.all(), lines=False)

    def test_every_database_may_be_used(self, assert_exactly_once):
        with pytest.raises(NotExactlyOnce, match="alias 'other'"):
            assert_exactly_once(
                sending(mistakes.writes_on_another_alias), effects={"there": Effect.objects.using("other")}, lines=False
            )

    def test_race(self, idempotency_race):
        idempotency_race(sending(doors.function(plain)), 3, effects=Effect.objects.all())

    @pytest.mark.django_db(transaction=True)
    def test_own_marker_is_kept(self, assert_exactly_once):
        with pytest.raises(AssertionError, match="not allowed"):
            Effect.objects.using("other").exists()


@pytest.fixture
def installed(tmp_path):
    """Return a directory with the package's entry points, as the installed package has them."""
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    metadata = tmp_path / "site" / "entry_points_of_django_idempotency-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: entry-points-of-django-idempotency\nVersion: 1\n")
    lines = [f"{name} = {place}" for name, place in entry_points["pytest11"].items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    return metadata.parent


def run_pytest(installed, code, *arguments, **environment):
    """Run a project's only test, and return the process."""
    project = installed.parent / "project"
    project.mkdir()
    (project / "test_project.py").write_text(code)
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:asyncio", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env={**coverage, "PATH": "", "PYTHONPATH": f"{installed}:{ROOT}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


PROJECT_WITHOUT_DJANGO = """
import sys

def test_nothing_is_imported():
    assert "django_idempotency.testing.plugin" in sys.modules
    assert [name for name in sys.modules if name.partition(".")[0] == "django"] == []
    assert "django_idempotency.testing.exactly_once" not in sys.modules
"""
PROJECT = """
from tests.app.models import Effect
from tests.testing.requests import sending
from tests.testing import mistakes
from tests import doors

def view(request):
    Effect.objects.create(label="sold")
    return mistakes.done()

def test_view(assert_exactly_once):
    assert_exactly_once(sending(doors.function(view)), effects=Effect.objects.all())
"""


@pytest.mark.engine("sqlite")
class TestInstalled:
    def test_costs_nothing_where_it_is_not_used(self, installed):
        process = run_pytest(installed, PROJECT_WITHOUT_DJANGO, "-p", "no:django")

        assert process.returncode == 0, process.stdout

    def test_can_be_left_out(self, installed):
        code = "import sys\ndef test():\n    assert 'django_idempotency.testing.plugin' not in sys.modules\n"

        process = run_pytest(installed, code, "-p", "no:django_idempotency", "-p", "no:django")

        assert process.returncode == 0, process.stdout

    def test_summary_says_what_was_tried(self, installed):
        process = run_pytest(installed, PROJECT, DJANGO_SETTINGS_MODULE="tests.settings")

        assert process.returncode == 0, process.stdout
        assert "= exactly once =" in process.stdout
        assert "test_project.py::test_view: exactly once: a death before" in process.stdout

    def test_sqlite_in_memory_does(self, installed):
        process = run_pytest(installed, PROJECT, DJANGO_SETTINGS_MODULE="tests.testing.memory_settings")

        assert process.returncode == 0, process.stdout
        assert "each of 5 statements" in process.stdout
