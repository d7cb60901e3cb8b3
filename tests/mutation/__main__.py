"""Mutate the core, one place at a time, and see whether the tests notice: python -m tests.mutation [module …].

mutmut makes the mutants. It does not run them: it would start pytest anew for each, on one list of tests, and would
count a mutant that cannot be imported as a survivor. Here a copy of the tree is mutated, and a process that has the
libraries imported already forks for each mutant. One that survives is tested on the next engine.

Exit status 0 means that those that survived are those that survivors.md explains.
"""

import argparse
import ast
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
from mutmut import Context, list_mutations, mutate

from tests.engines import ENGINES

ROOT = Path(__file__).parent.parent.parent
SURVIVORS = Path(__file__).with_name("survivors.md")
# What is tested next to its own tests is tested by its callers'; those that fail soonest come first.
TESTS = {
    "keys": ["test_keys.py"],
    "fingerprint": ["test_fingerprint.py", "test_http.py"],
    "http": ["test_http.py", "test_body.py", "test_drf.py", "spec/test_signals.py", "spec/test_spectacular.py"],
    "responses": ["test_responses.py", "spec/test_spectacular.py"],
    "execution": ["test_execution.py", "spec/test_signals.py"],
    "store": ["test_store.py", "test_execution.py", "spec/test_signals.py", "purge/test_tombstones.py"],
    "claims": ["test_claims.py", "test_checks.py::TestTablesRollBack"],
    "wire": ["test_wire.py", "test_claims.py"],
    "prepared": ["test_wire.py"],
}
# Each run needs these; none of them asks for Django's settings.
LIBRARIES = ["celery", "django.test", "factory", "httpx", "psycopg", "pytest_django.plugin", "requests"]
# What names an engine dies there.
HINTS = {
    "sqlite": "sqlite",
    "postgresql": "postgres|_pg_",
    "postgresql-embedded": "postgres|_pg_",
    "mariadb": "maria|mysql",
}
PATIENCE = 2


@dataclass(frozen=True, slots=True)
class Mutant:
    """One line that was changed; a list of survivors names it so, whatever is changed around it."""

    module: str
    function: str
    line: str
    mutated: str

    def __str__(self) -> str:
        return f"@@ {self.module} {self.function}\n-{self.line}\n+{self.mutated}".rstrip()


def main(argv: Sequence[str]) -> int:
    """Test every mutant of the modules asked for, and compare those that survive with the list."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", allow_abbrev=False)
    parser.add_argument("modules", nargs="*", default=list(TESTS), help=f"of: {', '.join(TESTS)} (default: all)")
    parser.add_argument("--engines", default="sqlite", help=f"of: {', '.join(ENGINES)} (default: %(default)s)")
    parser.add_argument("--only", default="", help="mutate only the functions whose name matches this")
    parser.add_argument("--listed", action="store_true", help="test only the mutants that are listed as survivors")
    options = parser.parse_args(argv)
    if unknown := set(options.modules) - set(TESTS):
        parser.error(f"unknown module: {', '.join(sorted(unknown))}")
    listed = {mutant for mutant in read(SURVIVORS.read_text()) if mutant.module in options.modules}
    survivors: set[Mutant] = set()
    count = 0
    with Laboratory(options.engines.split(",")) as laboratory:
        for module in options.modules:
            laboratory.prepare(module)
            for mutant, source in mutants_of(module):
                if not re.search(options.only, mutant.function) or (options.listed and mutant not in listed):
                    continue
                count += 1
                killer = laboratory.kill(mutant, source)
                print(f"{mutant}\n   {killer or 'SURVIVED'}", flush=True)
                if not killer:
                    survivors.add(mutant)
    print(f"\n{count} mutants, {len(survivors)} kinds of survivors")
    print(*["", "Not listed:", *(survivors - listed)], sep="\n")
    if not options.only:
        print(*["", "Listed, and killed or gone:", *(listed - survivors)], sep="\n")
    return 1 if survivors - listed else 0


def mutants_of(module: str) -> Iterator[tuple[Mutant, str]]:
    """Yield each mutant, and the source of the mutated module."""
    path = ROOT / "django_idempotency" / f"{module}.py"
    source = path.read_text()
    functions = functions_in(source)
    for mutation in list_mutations(Context(source=source, filename=str(path))):
        mutated, _ = mutate(Context(source=source, filename=str(path), mutation_id=mutation))
        number = mutation.line_number
        before, after = source.split("\n"), mutated.split("\n")
        # A decorator's mutant lacks its line.
        changed = after[number] if len(after) == len(before) else ""
        yield Mutant(module, functions.get(number + 1, ""), before[number], changed), mutated


def functions_in(source: str) -> dict[int, str]:
    """Return, for each line, the name of the outermost function or class that it is in."""
    return {
        number: node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for number in range(min([node.lineno, *(d.lineno for d in node.decorator_list)]), (node.end_lineno or 0) + 1)
    }


def read(text: str) -> Iterator[Mutant]:
    """Yield the mutants in *text* that are listed as `Mutant.__str__` writes them."""
    for module, function, line, mutated in re.findall(r"^@@ (\S+) ?(.*)\n-(.*)(?:\n\+(.*))?$", text, re.MULTILINE):
        yield Mutant(module, function, line, mutated)


class Laboratory:
    """A copy of the tree in which one module at a time is mutated, and tested in a fork."""

    def __init__(self, engines: Iterable[str]) -> None:
        self._engines = list(engines)
        self._stack = ExitStack()
        self._urls: dict[str, str] = {}
        self._limits: dict[str, float] = {}
        self._dirty: set[str] = set()

    def __enter__(self) -> "Laboratory":
        self._tree = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mutation-")))
        for name in ("django_idempotency", "example_project", "tests"):
            shutil.copytree(ROOT / name, self._tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", self._tree)
        for engine in self._engines:
            self._urls[engine] = self._stack.enter_context(ENGINES[engine].serve())
        for library in LIBRARIES:
            import_module(library)
        gc.freeze()  # pytest collects the garbage of all that several times over.
        return self

    def __exit__(self, *args: object) -> None:
        self._stack.close()

    def prepare(self, module: str) -> None:
        """Make the databases, and see that the tests pass while nothing is mutated."""
        for engine in self._engines:
            self._dirty.add(engine)
            self._limits[engine] = 600
            started = time.monotonic()
            if killer := self._run(engine, module):
                raise SystemExit(f"{module} on {engine}, not mutated: {killer}")
            seconds = time.monotonic() - started
            self._limits[engine] = PATIENCE * seconds + 10
            print(f"{module} on {engine}: {seconds:.1f} s", flush=True)

    def kill(self, mutant: Mutant, source: str) -> str:
        """Return what failed, and on which engine, when *source* took the place of its module."""
        path = self._tree / "django_idempotency" / f"{mutant.module}.py"
        original = path.read_text()
        path.write_text(source)
        try:
            likely = [engine for engine in self._engines if re.search(HINTS[engine], str(mutant), re.IGNORECASE)]
            for engine in dict.fromkeys(likely + self._engines):
                if killer := self._run(engine, mutant.module):
                    return f"{engine}: {killer}"
            return ""
        finally:
            path.write_text(original)

    def _run(self, engine: str, module: str) -> str:
        # A cached file of the same second and length would be taken for this one's.
        for cached in (self._tree / "django_idempotency" / "__pycache__").glob(f"{module}.*"):
            cached.unlink()
        log = self._tree / "log"
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = self._test(engine, module, log)
            finally:
                os._exit(code)
        deadline = time.monotonic() + self._limits[engine]
        status: int | None = None
        while status is None and time.monotonic() < deadline:
            time.sleep(0.02)
            pid, code = os.waitpid(child, os.WNOHANG)
            status = code if pid else None
        self._dirty.discard(engine)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if status is None:
            os.waitpid(child, 0)
            self._dirty.add(engine)
            return "too slow"
        if status == 0:
            return ""
        self._dirty.add(engine)  # A mutant may have committed what a test takes for rolled back.
        failures = re.findall(r"^(?:FAILED|ERROR) .*|^E .*|^\w*Error.*", log.read_text(errors="replace"), re.MULTILINE)
        return failures[-1][:150] if failures else f"status {os.waitstatus_to_exitcode(status)}"

    def _test(self, engine: str, module: str, log: Path) -> int:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self._tree)
        # The tests, and the servers that they start, import from the copy.
        sys.path[:] = [str(self._tree), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
        os.environ["PYTHONPATH"] = str(self._tree)
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        os.environ.update(DATABASE_URL=self._urls[engine], TEST_ENGINE=engine)
        os.environ.setdefault("TEST_DATABASE_NAME", "test_mutation")
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        sys.dont_write_bytecode = False
        arguments = [
            *("-x", "-q", "--tb=line", "--assert=plain", "-p", "no:cacheprovider"),
            *("-p", "pytest_django.plugin", "-p", "django_idempotency.testing.plugin"),
            "--create-db" if engine in self._dirty else "--reuse-db",
            *(f"tests/{name}" for name in TESTS[module]),
        ]
        code = int(pytest.main(arguments))
        sys.stdout.flush()
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
