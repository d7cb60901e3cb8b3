"""See each line of the project's code as it is about to run (Python 3.12 and newer)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import Any, Final, Self

from django_idempotency.testing.deaths import Line
from django_idempotency.testing.sources import is_project_file

# `sys.monitoring` came with Python 3.12; `sys.settrace` would take the place of a debugger's or of coverage's.
SUPPORTED: Final = sys.version_info >= (3, 12)
# Of the six that there are, the ones that nobody has reserved.
_TOOL_IDS: Final = (4, 3)


class LineWatch:
    """Tell `reached` of each line, before it runs, while the block runs; what it raises is raised by the line.

    Lines of *client* do not count, it is what sends the request; nor do those of a module that is imported.
    """

    def __init__(self, *, client: CodeType | None) -> None:
        self.reached: Callable[[Line], object] | None = None
        self._client = client
        self._tool: int | None = None

    if sys.version_info >= (3, 12):

        def __enter__(self) -> Self:
            monitoring = sys.monitoring
            self._tool = next((tool for tool in _TOOL_IDS if monitoring.get_tool(tool) is None), None)
            if self._tool is not None:
                monitoring.use_tool_id(self._tool, "django_idempotency.testing")
                monitoring.register_callback(self._tool, monitoring.events.LINE, self._arrive)
                monitoring.set_events(self._tool, monitoring.events.LINE)
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            if self._tool is not None:
                sys.monitoring.set_events(self._tool, sys.monitoring.events.NO_EVENTS)
                sys.monitoring.register_callback(self._tool, sys.monitoring.events.LINE, None)
                sys.monitoring.free_tool_id(self._tool)

        # Coverage's tracer sees nothing of what monitoring calls.
        def _arrive(self, code: CodeType, number: int) -> Any:  # pragma: no cover
            if code is self._client or code.co_name == "<module>" or not is_project_file(code.co_filename):
                return sys.monitoring.DISABLE  # Asked once for each line, not each time it runs.
            if self.reached is not None:
                self.reached(Line(filename=code.co_filename, number=number))
            return None

    else:

        def __enter__(self) -> Self:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            """There is nothing to undo."""

    @property
    def is_on(self) -> bool:
        """Whether lines are seen."""
        return self._tool is not None
