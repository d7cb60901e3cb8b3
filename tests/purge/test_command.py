"""manage.py purge_idempotency_keys: its options, what it says, and how it ends."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from django_idempotency import signals
from django_idempotency.management.progress import describe
from django_idempotency.purge import Purged
from tests.gate import TIMEOUT
from tests.operations import missing_table
from tests.purge.keys import HOUR, keys, names, responses
from tests.server import ROOT, environment
from tests.threads import together

NAME = "purge_idempotency_keys"


class Terminal(StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


def purge(*arguments, out=None, **options):
    """Run the command in this process, and return what it wrote."""
    out = StringIO() if out is None else out
    call_command(NAME, *arguments, stdout=out, **options)
    return out.getvalue()


@contextmanager
def purging(*arguments: str, **options) -> Iterator[subprocess.Popen[str]]:
    """Run the command in a process of its own, on the test's database."""
    process = subprocess.Popen(
        [sys.executable, "-m", "django", NAME, *arguments],
        cwd=ROOT,
        env=environment(Path(os.devnull)),
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def after_each_batch(call) -> Iterator[None]:
    """Call *call* in the middle of a purge, when a batch is committed."""

    def receive(**kwargs):
        call()

    signals.purged.connect(receive)
    try:
        yield
    finally:
        signals.purged.disconnect(receive)


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.django_db
class TestCommand:
    def test_says_what_went_and_how_fast(self):
        keys(3)
        keys(1, ago=-HOUR, key="unexpired")

        written = purge()

        assert re.fullmatch(
            r"Purging on 'default' …\nDone: 3 deleted in \d+\.\d s \([\d,]+ a second\)\n",
            written,
        )
        assert names() == ["unexpired"]

    def test_says_what_was_erased(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(days=1)
        keys(2)

        assert "Done: 0 deleted, 2 erased in " in purge()
        assert responses() == 0

    def test_dry_run_counts_and_changes_nothing(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = timedelta(days=1)
        keys(3)
        keys(2, ago=25 * HOUR)

        assert purge("--dry-run") == "On 'default', 2 would be deleted, 3 erased.\n"
        assert (len(names()), responses()) == (5, 5)

    def test_limit_leaves_more_and_says_so(self):
        keys(3)

        assert "More is left: 2 deleted in " in purge("--max-rows=2", "--batch-size=1")

    def test_limits_of_time_and_speed(self):
        keys(2)

        assert "Done: 2 deleted" in purge("--max-seconds=3600", "--sleep=0.001", "--batch-size=1")

    @pytest.mark.parametrize("duration", ["5400", "5400.5", "5400s", "90m", "1.5h", "0.0625d", "0.009w", "90m "])
    def test_older_than_takes_units(self, duration):
        keys(1, ago=2 * HOUR)
        keys(1, ago=HOUR, key="young")

        purge("--older-than", duration)

        assert names() == ["young"]

    @pytest.mark.django_db(databases=["default", "other"])
    def test_other_database(self):
        keys(1)
        keys(1, using="other")

        written = purge("--database=other")

        assert "'other'" in written
        assert (len(names()), len(names("other"))) == (1, 0)

    def test_verbosity_0_says_nothing(self):
        keys(1)

        assert purge("--verbosity=0") == ""
        assert names() == []

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("--batch-size=0", "--batch-size: must be a whole number from 1 to 100000, not '0'"),
            ("--batch-size=x", "--batch-size: must be a whole number from 1 to 100000, not 'x'"),
            ("--max-rows=0", "--max-rows: must be a whole number, 1 or more, not '0'"),
            ("--max-seconds=nan", "--max-seconds: must be a number of seconds above 0, not 'nan'"),
            ("--sleep=-1", "--sleep: must be a number of seconds from 0 to 3600, not '-1'"),
            ("--older-than=-7d", "--older-than: must be a number of seconds, or one with s, m, h, d or w behind it"),
            ("--older-than=7y", "not '7y'"),
            ("--older-than=3651d", "not '3651d'"),
            ("--older-than=99999999999999w", "not '99999999999999w'"),
            ("--database=nowhere", "--database: invalid choice: 'nowhere'"),
        ],
    )
    def test_bad_value_is_refused_in_clear_words(self, argument, message):
        keys(1)

        with pytest.raises(CommandError) as raised:
            purge(argument)

        assert message in str(raised.value)
        assert len(names()) == 1


@pytest.mark.django_db
class TestProgress:
    def test_bar_on_a_terminal(self):
        keys(3)

        written = purge("--batch-size=1", out=Terminal())

        assert "/3.00" in written
        assert "Done: 3 deleted" in written

    def test_bar_counts_to_the_limit(self):
        keys(3)

        assert "/2.00" in purge("--max-rows=2", out=Terminal())

    def test_plain_lines_without_the_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tqdm", None)
        keys(3)

        written = purge("--batch-size=1", out=Terminal())

        assert "\r" not in written
        assert "Done: 3 deleted" in written

    def test_plain_line_now_and_then_elsewhere(self, monkeypatch):
        clock = itertools.count(time.monotonic(), 2.0)
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        keys(3)

        lines = purge("--batch-size=1").splitlines()

        assert lines[0] == "Purging on 'default' …"
        assert re.fullmatch(r"[12] deleted in [\d.]+ s \(\d+ a second\)", lines[1])
        assert lines[-1].startswith("Done: 3 deleted")


class TestDescribe:
    def test_names_what_there_is(self):
        assert describe(Purged(deleted=1234, seconds=2.0)) == "1,234 deleted in 2.0 s (617 a second)"

    def test_names_what_was_left(self):
        purged = Purged(deleted=1, erased=1, left=3, seconds=1.0)

        assert describe(purged) == (
            "1 deleted, 1 erased in 1.0 s (2 a second); 3 left to others, who held, renewed or deleted them"
        )


@pytest.mark.django_db(transaction=True)
class TestEnd:
    def test_success_is_status_0(self):
        keys(1)

        with purging() as process:
            out, error = process.communicate(timeout=TIMEOUT)

        assert (process.returncode, error) == (0, "")
        assert "Done: 1 deleted" in out
        assert names() == []

    def test_bad_value_is_status_2(self):
        with purging("--batch-size=0") as process:
            _, error = process.communicate(timeout=TIMEOUT)

        assert process.returncode == 2
        assert "argument --batch-size: must be" in error

    def test_failing_database_is_status_1(self):
        keys(1)

        with missing_table(), purging() as process:
            _, error = process.communicate(timeout=TIMEOUT)

        assert process.returncode == 1
        assert error.startswith("CommandError: The database 'default' failed after 0 deleted in ")

    def test_failing_database_is_told_in_process(self):
        with missing_table(), pytest.raises(CommandError, match="The database 'default' failed after 0 deleted"):
            purge()

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_signal_ends_it_between_two_batches(self, number, status):
        keys(3)

        with purging("--batch-size=1", "--sleep=3600") as process:
            wait_until(lambda: len(names()) == 2)
            process.send_signal(number)
            out, error = process.communicate(timeout=TIMEOUT)

        assert (process.returncode, error) == (status, "")
        assert f"{number.name} ended it: 1 deleted" in out
        assert len(names()) == 2

    def test_signal_is_noted_until_the_batch_is_committed(self):
        keys(3)
        out = StringIO()
        before = signal.getsignal(signal.SIGTERM)

        with (
            after_each_batch(lambda: os.kill(os.getpid(), signal.SIGTERM)),
            pytest.raises(SystemExit) as raised,
        ):
            purge("--batch-size=1", out=out)

        assert raised.value.code == 143
        assert "SIGTERM ended it: 1 deleted" in out.getvalue()
        assert len(names()) == 2
        assert signal.getsignal(signal.SIGTERM) is before

    def test_thread_that_no_signal_reaches_runs_it_too(self):
        keys(1)

        (written,) = together([purge])

        assert "Done: 1 deleted" in written

    def test_second_signal_ends_it_at_once(self):
        keys(3)

        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

        with after_each_batch(interrupt), pytest.raises(KeyboardInterrupt):
            purge("--batch-size=1")

        assert len(names()) == 2

    def test_killed_purge_has_done_what_it_committed(self):
        keys(3)

        with purging("--batch-size=1", "--sleep=3600") as process:
            wait_until(lambda: len(names()) == 2)
            process.kill()
            process.wait(TIMEOUT)

        assert "Done: 2 deleted" in purge()
        assert names() == []

    def test_bar_is_drawn_on_a_real_terminal(self):
        keys(3)
        terminal, end = os.openpty()

        with purging("--batch-size=1", stdout=end, stderr=end) as process:
            os.close(end)
            written = read_all(terminal)
            process.wait(TIMEOUT)

        assert process.returncode == 0
        assert "/3.00" in written
        assert "Done: 3 deleted" in written

    def test_two_at_once_share_the_work(self):
        keys(200)

        def one():
            with purging("--batch-size=10") as process:
                out, error = process.communicate(timeout=TIMEOUT)
            assert (process.returncode, error) == (0, "")
            return int(out.partition("Done: ")[2].partition(" deleted")[0])

        # What both were at in the same moment is left to the next one.
        assert sum(together([one, one])) + one() == 200
        assert names() == []


def read_all(terminal: int) -> str:
    """Return what is written to a terminal until nobody has it open."""
    written = b""
    with open(terminal, "rb", buffering=0) as file:
        try:
            while chunk := file.read(65536):
                written += chunk
        except OSError:  # Linux: the other end is closed.
            pass
    return written.decode()
