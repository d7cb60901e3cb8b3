"""Run the Python of a page, as its reader would: from top to bottom, each block after the ones above it."""

import doctest
import importlib
import sys
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest
from django.core.checks import CheckMessage
from django.test import override_settings

from django_idempotency.checks import check_settings
from tests.docs.markdown import Block, blocks

# The reader's own modules, and what stands for them.
STAND_INS = ("payments", "payments.models", "payments.serializers")
# A task's name has its module's, and must not be taken.
RUNS = count(1)


def run_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the page's code, and return its names.

    A `python` block with a caption is the module of that name; all others share one namespace. A `pycon` block
    is a doctest in it. Files in `shop/` are the quickstart's: see test_quickstart.py. What imports Django's tasks
    needs Django 6. Tracebacks point into the page.
    """
    for name in STAND_INS:
        monkeypatch.setitem(sys.modules, name, importlib.import_module(f"tests.docs.{name}"))
    page = ModuleType(f"docs_{path.stem}_{next(RUNS)}")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    for block in blocks(path, "python", "pycon"):
        if block.options.get("caption", "").startswith("shop/"):
            continue
        if django.VERSION < (6,) and "from django.tasks import" in block.text:
            continue
        if block.language == "pycon":
            run_doctest(block, page)
        else:
            module = page
            if caption := block.options.get("caption"):
                module = ModuleType(caption.removesuffix(".py").replace("/", "."))
                monkeypatch.setitem(sys.modules, module.__name__, module)
                parent, _, name = module.__name__.rpartition(".")
                monkeypatch.setattr(sys.modules[parent], name, module, raising=False)
            exec(compile(block.source, block.path, "exec"), vars(module))
    return vars(page)


def run_doctest(block: Block, page: ModuleType) -> None:
    """Compare what the block shows with what happens."""
    parser = doctest.DocTestParser()
    test = parser.get_doctest(block.text, vars(page), str(block), str(block.path), block.line - 1)
    test.globs = vars(page)  # Not a copy: the next block goes on with it.
    runner = doctest.DebugRunner(optionflags=doctest.ELLIPSIS)
    try:
        runner.run(test, clear_globs=False)
    except doctest.DocTestFailure as failure:
        pytest.fail(f"{block}: {failure.example.source}expected: {failure.example.want}got: {failure.got}")
    except doctest.UnexpectedException as failure:
        raise failure.exc_info[1] from failure


def problems_of(names: dict[str, Any]) -> list[CheckMessage]:
    """Return what the system checks say of the settings among *names*."""
    settings = {name: value for name, value in names.items() if name.startswith("IDEMPOTENCY_")}
    with override_settings(**settings):
        return check_settings(None)
