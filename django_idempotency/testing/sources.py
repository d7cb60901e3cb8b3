"""Which code is the project's own, and where in it something happens."""

from __future__ import annotations

import linecache
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import django

import django_idempotency

_PACKAGE: Final = str(Path(str(django_idempotency.__file__)).parent)
_KIT: Final = str(Path(__file__).parent)
_AROUND: Final = (_PACKAGE, str(Path(str(django.__file__)).parent / "core" / "handlers"))


@cache
def is_project_file(filename: str) -> bool:
    """Tell whether *filename* is the project's: neither Python's, nor of an installed package, nor of this one."""
    if filename.startswith("<"):
        return False
    path = Path(filename).resolve()
    return not any(path.is_relative_to(root) for root in _library_roots())


def place_of(frame: FrameType | None, *, below: CodeType | None = None) -> str:
    """Return where the project's code stands in this stack, as "shop/views.py:12 in charge"; empty if nowhere.

    Only what runs *below* that code counts: what it has called. What this package does, or Django around the view, no
    line of the project has asked for.
    """
    while frame is not None and frame.f_code is not below:
        filename = frame.f_code.co_filename
        if is_project_file(filename):
            return f"{shortened(filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
        if filename.startswith(_AROUND) and not filename.startswith(_KIT):
            break
        frame = frame.f_back
    return ""


def shortened(filename: str) -> str:
    """Return *filename* as a person calls it: from the working directory, if it is below."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


def text_of(filename: str, line: int) -> str:
    """Return the line's text."""
    return linecache.getline(filename, line).strip()


@cache
def _library_roots() -> list[Path]:
    names = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    names += [*site.getsitepackages(), site.getusersitepackages(), *_bundled()]
    return [Path(name).resolve() for name in [*names, _PACKAGE] if name]


def _bundled() -> list[str]:
    # An interpreter made by venv has its standard library where the one that made it has.
    return [str(Path(sys.base_prefix) / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}")]
