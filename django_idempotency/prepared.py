"""Statements that a PostgreSQL session has prepared: it parses and plans them no more.

Note [Prepared where the project says so]
Of what the server does for the claim and the completion, two fifths are parsing and planning. A session can be told to
do that once, but not where a pooler in transaction mode hands it to somebody else meanwhile. So Django turns prepared
statements off, and a project that has no such pooler turns them on with `prepare_threshold` in OPTIONS: psycopg's
setting, after how many executions a session prepares a statement. (psycopg itself does not do it for the cursors that
Django gives it by default, so that nothing else changes.)

PREPARE goes in the message of the execution that it is for, and outlives its transaction. Whether it has worked is
known when the answer is there; if it is not, the next one prepares anew. No name is ever used twice, so that even in a
session that changes hands it is never another statement's.

Should there be such a pooler after all, the first statement of a transaction will be missed some time, when nothing has
been done yet: the claim is made again, and the connection prepares no more. A later one cannot be missed: it is
prepared only behind a first one that was there, in the same transaction, hence in the same session.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import psycopg


@dataclass(slots=True)
class _Session:
    uses: Counter[str] = field(default_factory=Counter)
    names: dict[str, bytes] = field(default_factory=dict)
    given_up: bool = False


class Call(NamedTuple):
    """One execution of a prepared statement: what to send, and what before it if it does not have that *name* yet."""

    text: bytes
    before: bytes
    name: bytes


def call(raw: psycopg.Connection[Any], statement: str, literals: Sequence[bytes]) -> Call | None:
    """Spell *statement*, whose placeholders are `%s`, with *literals* in their place.

    If it is not to be prepared, or not yet, there is None.
    """
    session = _session(raw)
    if session.given_up:
        return None
    name = session.names.get(statement)
    before = b""
    if name is None:
        session.uses[statement] += 1
        if session.uses[statement] <= (raw.prepare_threshold or 0):
            return None
        name = b"idempotency_%s" % uuid.uuid4().hex.encode()
        parameters = tuple([b"$%d" % number for number in range(1, len(literals) + 1)])
        before = b"PREPARE %s AS %s" % (name, statement.encode() % parameters)
    return Call(b"EXECUTE %s (%s)" % (name, b", ".join(literals)), before, name)


def keep(raw: psycopg.Connection[Any], statement: str, name: bytes) -> None:
    """Let the session go on with *statement* under the *name* that has worked."""
    _session(raw).names[statement] = name


def give_up(raw: psycopg.Connection[Any]) -> None:
    """Prepare nothing any more: the session has lost it, or is another one."""
    _session(raw).given_up = True


def _session(raw: psycopg.Connection[Any]) -> _Session:
    session: _Session = vars(raw).setdefault("_idempotency_session", _Session())
    return session
