"""A worker that serves one request, is watched, and dies where it is told to."""

from __future__ import annotations

import logging
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import CodeType
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_idempotency.testing.answers import Answer
from django_idempotency.testing.deaths import Change, Fate, Line, Moment, Statement
from django_idempotency.testing.effects import Gauge
from django_idempotency.testing.failures import WorkerDied
from django_idempotency.testing.lines import LineWatch
from django_idempotency.testing.sessions import Sessions, refuse, revive
from django_idempotency.testing.sources import place_of
from django_idempotency.testing.threads import wait_for_threads

Send = Callable[[str], Any]


class Worker:
    """Serve one request, and note its statements, its lines and its effects in memory; meet *fate*.

    Death is that of a process: its database sessions are lost, whichever thread has them, nothing of it reaches
    a database any more, no `on_commit` hook runs, and no `except Exception` goes on.
    """

    def __init__(self, sessions: Sessions, watch: LineWatch, gauges: Sequence[Gauge], fate: Fate | None = None) -> None:
        self.statements: list[Statement] = []
        self.lines: dict[Line, None] = {}
        self.changes: list[Change] = []
        self.struck: Statement | Line | None = None
        self._sessions = sessions
        self._watch = watch
        self._gauges = [gauge for gauge in gauges if not gauge.reads]
        self._amounts = [gauge.amount() for gauge in self._gauges]
        self._fate = fate
        self._is_dead = False
        self._lock = threading.RLock()
        self._adopted: list[BaseDatabaseWrapper] = []
        self._transactions: defaultdict[int, int] = defaultdict(int)
        self._hooked: set[int] = set()
        self._looking: set[int] = set()
        self._thread = threading.get_ident()
        self._client: CodeType | None = None

    def serve(self, send: Send, key: str) -> Answer | None:
        """Return the answer; None if the worker died, or raised because its fate had struck.

        Raises:
            Exception: What the request raised without that.
        """
        self._client = code_of(send)
        with self._observed():
            try:
                answer = Answer.of(send(key))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                if self.struck is None:
                    raise
                return None
        return None if self._is_dead else answer

    @contextmanager
    def _observed(self) -> Iterator[None]:
        threads = set(threading.enumerate())
        excepthook = threading.excepthook
        threading.excepthook = lambda args: None if self.struck is not None else excepthook(args)
        requests = logging.getLogger("django.request")
        requests.addFilter(self._is_unstruck)
        connection_created.connect(self._on_connection_created)
        for connection in connections.all(initialized_only=True):
            self._adopt(connection)
        self._watch.reached = self._on_line
        try:
            yield
        finally:
            wait_for_threads(but=threads)
            self._watch.reached = None
            connection_created.disconnect(self._on_connection_created)
            for connection in self._adopted:
                self._release(connection)
            threading.excepthook = excepthook
            requests.removeFilter(self._is_unstruck)
            if self._is_dead:
                self._sessions.settle()
            self._look(None)

    # What is logged of an error that was meant to happen hides what went wrong.
    def _is_unstruck(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - a filter's
        return self.struck is None

    # --- What is seen -------------------------------------------------------------------------------------------------

    def _on_connection_created(self, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:  # noqa: ARG002 - a receiver's
        self._adopt(connection)

    def _adopt(self, connection: BaseDatabaseWrapper) -> None:
        if connection in self._adopted:
            return
        self._adopted.append(connection)
        connection.execute_wrappers.insert(0, self._on_statement)
        # COMMIT is no statement of a cursor's. These two shadow the methods, on this instance alone.
        connection.commit = partial(self._on_commit, connection, connection.commit)  # type: ignore[method-assign]
        connection.run_and_clear_commit_hooks = partial(  # type: ignore[method-assign]
            self._on_commit_hooks, connection, connection.run_and_clear_commit_hooks
        )

    def _release(self, connection: BaseDatabaseWrapper) -> None:
        connection.execute_wrappers.remove(self._on_statement)
        del connection.commit, connection.run_and_clear_commit_hooks
        is_own = connections[connection.alias] is connection if connection.alias in connections else False
        if self._is_dead or not is_own:
            connection.inc_thread_sharing()
            revive(connection)
            connection.dec_thread_sharing()

    def _on_statement(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        if threading.get_ident() in self._looking:
            return execute(sql, params, many, context)
        connection = context["connection"]
        statement = self._arrive(connection, str(sql))
        if self._strikes(Moment.REFUSED, statement):
            return refuse(execute, context)
        try:
            return execute(sql, params, many, context)
        finally:
            if connection.vendor == "sqlite" and self._fated(Moment.AFTER, statement):
                context["cursor"].close()  # An unfinished statement would outlive its session.
            self._leave(connection, statement)

    def _on_commit(self, connection: BaseDatabaseWrapper, commit: Callable[[], object]) -> None:
        statement = self._arrive(connection, "COMMIT")
        if self._strikes(Moment.REFUSED, statement):
            raise OperationalError("canceled by the test kit")
        commit()
        self._leave(connection, statement)

    def _on_commit_hooks(self, connection: BaseDatabaseWrapper, run: Callable[[], object]) -> None:
        if self._is_dead:
            connection.run_on_commit.clear()
            return
        thread = threading.get_ident()
        self._look(self._last)
        self._hooked.add(thread)
        try:
            run()
            self._look(self._last)
        finally:
            self._hooked.discard(thread)

    def _arrive(self, connection: BaseDatabaseWrapper, sql: str) -> Statement:
        if self._is_dead:
            raise WorkerDied
        thread = threading.current_thread()
        in_transaction = connection.in_atomic_block or not connection.autocommit or sql == "COMMIT"
        with self._lock:
            self._look(self._last)
            statement = Statement(
                number=len(self.statements) + 1,
                sql=" ".join(sql.split()),
                alias=connection.alias,
                place=place_of(sys._getframe(2), below=self._client),
                thread="" if thread.ident == self._thread else thread.name,
                transaction=(id(connection), self._transactions[id(connection)]) if in_transaction else None,
                in_commit_hook=thread.ident in self._hooked,
            )
            self.statements.append(statement)
        if self._strikes(Moment.BEFORE, statement):
            self._die()
        return statement

    def _leave(self, connection: BaseDatabaseWrapper, statement: Statement) -> None:
        if statement.sql.upper().startswith("COMMIT"):
            self._transactions[id(connection)] += 1
        self._look(statement)
        if self._strikes(Moment.AFTER, statement):
            self._die()

    # Coverage's tracer sees nothing of what monitoring calls.
    def _on_line(self, line: Line) -> None:  # pragma: no cover
        if threading.get_ident() in self._looking or self._is_dead:
            return
        self.lines.setdefault(line)
        if self._fate is not None and self._fate.line == line and self.struck is None:
            self.struck = line
            self._die()

    @property
    def _last(self) -> Statement | None:
        return self.statements[-1] if self.statements else None

    def _look(self, after: Statement | None) -> None:
        """Note which effects in memory have changed, and after which statement."""
        thread = threading.current_thread()
        ident = threading.get_ident()
        self._looking.add(ident)
        try:
            amounts = [gauge.amount() for gauge in self._gauges]
        finally:
            self._looking.discard(ident)
        for gauge, before, now in zip(self._gauges, self._amounts, amounts, strict=True):
            if before != now:
                name = "" if ident == self._thread else thread.name
                hooked = ident in self._hooked
                self.changes.append(Change(gauge=gauge.name, after=after, in_commit_hook=hooked, thread=name))
        self._amounts = amounts

    # --- What happens -------------------------------------------------------------------------------------------------

    def _fated(self, moment: Moment, statement: Statement) -> bool:
        return self._fate is not None and (self._fate.moment, self._fate.statement) == (moment, statement.number)

    def _strikes(self, moment: Moment, statement: Statement) -> bool:
        if not self._fated(moment, statement):
            return False
        self.struck = statement
        return True

    def _die(self) -> None:
        self._is_dead = True
        self._sessions.lose(self._adopted)
        for connection in self._adopted:
            connection.run_on_commit.clear()
        raise WorkerDied


def code_of(send: Send) -> CodeType | None:
    """Return the code of *send* itself, if it is a function."""
    function = send.func if isinstance(send, partial) else send
    return getattr(function, "__code__", None)
