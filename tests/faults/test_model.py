"""The model finds what it is there to find: each planted fault, by its name, and nothing in a good history."""

import json
from dataclasses import replace

import pytest

from tests.faults.model import DECLINED, PAID, Attempt, Books, Order, Run, violations

OPENING = {1: 100, 2: 100}
ORDERS = [
    Order(user="ann", key="k", payer=1, payee=2, amount=30),
    Order(user="bob", key="k", payer=2, payee=1, amount=500),
]
ANN = Run(order="ann/k", outcome=PAID, answer="A")
BOB = Run(order="bob/k", outcome=DECLINED, answer="B")
BOOKS = Books(runs=[ANN, BOB], balances={1: 70, 2: 130}, keys=["ann/k", "bob/k"])


def attempt(order, sent, status, answer="", **fields):
    body = json.dumps({"answer": answer}) if answer else ""
    return Attempt(order=order, sent=sent, ended=sent + 0.5, status=status, body=body, **fields)


LOST = attempt("ann/k", 1, None)
REFUSED = attempt("ann/k", 1.2, 409, retry_after=True)
FIRST = attempt("ann/k", 2, 201, "A")
RETRY = attempt("ann/k", 3, 201, "A", replayed=True)
ALTERED = attempt("ann/k", 4, 409, altered=True)
DECLINE = attempt("bob/k", 1, 402, "B")
HISTORY = [LOST, REFUSED, FIRST, RETRY, ALTERED, DECLINE]

TWICE = replace(BOOKS, runs=[ANN, replace(ANN, answer="A2"), BOB])
ABSENT = replace(BOOKS, runs=[BOB], keys=["bob/k"], balances=OPENING)
BROKEN = {
    "ann/k: executed twice": (HISTORY, TWICE),
    "ann/k: acknowledged, but absent": (HISTORY, ABSENT),
    "ann/k: stuck": ([LOST, REFUSED, DECLINE], BOOKS),
    "ann/k: answered in two ways": ([*HISTORY, replace(RETRY, body='{"answer":"A"}')], BOOKS),
    "ann/k: answered for a run that was not kept": (
        HISTORY,
        replace(BOOKS, runs=[replace(ANN, answer="A2"), BOB]),
    ),
    "ann/k: two first answers": ([*HISTORY, replace(FIRST, sent=2.1)], BOOKS),
    "ann/k: ran after it was acknowledged": ([LOST, replace(FIRST, sent=5), RETRY, DECLINE], BOOKS),
    "ann/k: refused, without a reason": ([*HISTORY, replace(REFUSED, retry_after=False)], BOOKS),
    "ann/k: other parameters were acknowledged": ([*HISTORY, replace(RETRY, altered=True)], BOOKS),
    "ann/k: answered with {400}": ([*HISTORY, replace(RETRY, status=400)], BOOKS),
    "eve/k: an effect of what nobody ordered": (
        HISTORY,
        replace(BOOKS, runs=[*BOOKS.runs, replace(ANN, order="eve/k")], keys=[*BOOKS.keys, "eve/k"]),
    ),
    "ann/k: its key is remembered, its effect is not there": (HISTORY, replace(ABSENT, keys=BOOKS.keys)),
    "ann/k: its effect is there, its key is not remembered": (HISTORY, replace(BOOKS, keys=["bob/k"])),
    "account 1: holds 71, not 70": (HISTORY, replace(BOOKS, balances={1: 71, 2: 129})),
    "account 1: overdrawn": (HISTORY, replace(BOOKS, balances={1: -1, 2: 201})),
    "the balances do not add up": (HISTORY, replace(BOOKS, balances={1: 70, 2: 131})),
}


class TestViolations:
    def test_good_history_has_none(self):
        assert violations(ORDERS, HISTORY, OPENING, BOOKS) == []

    @pytest.mark.parametrize("violation", BROKEN)
    def test_planted_one_is_found(self, violation):
        history, books = BROKEN[violation]

        assert violation in violations(ORDERS, history, OPENING, books)

    def test_answers_of_either_kind_count_for_what_they_say(self):
        history = [*HISTORY[:-1], replace(DECLINE, status=201)]

        assert violations(ORDERS, history, OPENING, BOOKS) == ["bob/k: answered for a run that was not kept"]
