"""Statements that a PostgreSQL session has prepared: it parses and plans them no more.

Note [Prepared where nobody is in between]
Of what the server does for the claim and the completion, two fifths are parsing and planning. A session can be told to
do that once, but not where a pooler in transaction mode hands it to somebody else meanwhile; which is why Django has
psycopg prepare nothing, by default. So the session is asked who serves it: if that is the process whose number the
connection was told when it was opened, it is the connection's own. Poolers tell a number that they have made up, or
none. The question goes in the message of an execution, as does PREPARE, so that neither takes a round trip.

`prepare_threshold` in OPTIONS, psycopg's setting, says at which execution it is asked; if it is None, at none. (psycopg
itself prepares nothing for the cursors that Django gives it by default.)

What is prepared outlives its transaction. Whether it has worked is known when the answer is there; if it has not, the
next one prepares anew. No name is ever used twice, so that even in a session that changes hands it is never another
statement's.

Should the session have lost it all the same (DEALLOCATE, or a pooler that tells the truth), the first statement of a
transaction will be missed, when nothing has been done yet: the claim is made again, and the connection prepares no
more. A later one is prepared only behind a first one that was there, in the same transaction, hence the same session.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

_THRESHOLD: Final = 5  # psycopg's own default.


@dataclass(slots=True)
class _Session:
    uses: int = 0
    prepares: bool | None = None  # It has not been asked yet.
    names: dict[str, bytes] = field(default_factory=dict)


class Call(NamedTuple):
    """One execution of a statement: what to send, and what *before* it; and its *name*, if it is prepared."""

    text: bytes
    before: bytes = b""
    name: bytes = b""


def plain(statement: str, literals: Sequence[bytes]) -> Call:
    """Spell *statement*, whose placeholders are `%s`, with *literals* in their place."""
    return Call(statement.encode() % tuple(literals))


def call(connection: BaseDatabaseWrapper, statement: str, literals: Sequence[bytes]) -> Call:
    """Spell *statement* as `plain()` does, or what executes it where the session has prepared it."""
    raw = connection.connection
    session = _session(raw)
    threshold = connection.settings_dict["OPTIONS"].get("prepare_threshold", _THRESHOLD)
    if session.prepares is False or threshold is None:
        return plain(statement, literals)
    if session.prepares is None:
        session.uses += 1
        asks = session.uses >= threshold
        question = b"SELECT pg_backend_pid() = %d" % raw.info.backend_pid if asks else b""
        return plain(statement, literals)._replace(before=question)
    name = session.names.get(statement)
    before = b""
    if name is None:
        name = b"idempotency_%s" % uuid.uuid4().hex.encode()
        parameters = tuple([b"$%d" % number for number in range(1, len(literals) + 1)])
        before = b"PREPARE %s AS %s" % (name, statement.encode() % parameters)
    return Call(b"EXECUTE %s (%s)" % (name, b", ".join(literals)), before, name)


def keep(raw: psycopg.Connection[Any], statement: str, call: Call, answer: PGresult) -> None:
    """Let the session go on with the *answer* to what was sent before *statement*: its name, or whether to prepare."""
    session = _session(raw)
    if call.name:
        session.names[statement] = call.name
    else:
        session.prepares = answer.get_value(0, 0) == b"t"


def give_up(raw: psycopg.Connection[Any]) -> None:
    """Prepare nothing any more: the session has lost it, or is another one."""
    _session(raw).prepares = False


def _session(raw: psycopg.Connection[Any]) -> _Session:
    session: _Session | None = vars(raw).get("_idempotency_session")
    if session is None:
        session = vars(raw)["_idempotency_session"] = _Session()
    return session
