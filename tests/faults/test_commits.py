"""The connection to the database is cut at the COMMIT: the worker cannot know what came of it, its client will."""

import random
from itertools import cycle

import pytest
from django.db import connection

from tests.faults.clients import Client
from tests.faults.model import Order
from tests.faults.proxy import Cut, proxy
from tests.faults.servers import serving
from tests.faults.test_storm import PATHS

pytestmark = pytest.mark.engine("postgresql", "mariadb")
EVERY_CUT: tuple[Cut, ...] = ("before", "during", "after")


@pytest.fixture(scope="module")
def cutter(engine):
    """Return a proxy that cuts connections."""
    with proxy(connection.vendor) as proxy_:
        yield proxy_


@pytest.fixture(scope="module")
def gunicorn(cutter):
    """Run gunicorn behind it."""
    with serving(cutter.settings) as server:
        yield server


@pytest.fixture
def send(gunicorn, bank):
    """Open two accounts, and return what sends an order to pay 30 from one to the other."""
    bank.open(2, 100)
    client = Client(address=(gunicorn.host, gunicorn.port), dice=random.Random())
    order = Order(user="ann", key="key", payer=1, payee=2, amount=30)
    return lambda path: client.send(order, path)


class TestCutBetweenCommitAndItsAcknowledgement:
    @pytest.mark.parametrize("path", PATHS)
    def test_retry_gets_the_answer_that_was_committed(self, cutter, send, bank, path):
        cutter.cut_next("after")
        first = send(path)
        kept = bank.books()

        retry = send(path)

        assert first.status == 500
        assert [run.outcome for run in kept.runs] == ["paid"]
        assert (retry.status, retry.replayed) == (201, True)
        assert kept.runs[0].answer in retry.body
        assert bank.books() == kept

    def test_without_a_key_it_is_paid_twice(self, cutter, send, bank):
        cutter.cut_next("after")

        statuses = [send("/unguarded/").status for _ in range(2)]

        assert statuses == [500, 201]
        assert bank.books().balances == {1: 40, 2: 160}


class TestCutBeforeCommit:
    @pytest.mark.parametrize("path", PATHS)
    def test_retry_runs(self, cutter, send, bank, path):
        cutter.cut_next("before")
        first = send(path)
        kept = bank.books()

        retry = send(path)

        assert first.status == 500
        assert (kept.runs, kept.keys) == ([], [])
        assert (retry.status, retry.replayed) == (201, False)
        assert bank.books().balances == {1: 70, 2: 130}


@pytest.mark.long
class TestStormOfCuts:
    def test_leaves_every_order_carried_out_once(self, cutter, weather, bank, gunicorn):
        # Whatever the dice, however few the orders: each cut comes.
        cuts = cycle([*EVERY_CUT, *[""] * 12])
        cutter.cuts.clear()

        def stop_cutting():
            cutter.plan = lambda: ""

        cutter.plan = lambda: next(cuts)
        broken = weather.brew(gunicorn, bank, paths=PATHS, faults=["raise"], acts=[bank.cut_session], then=stop_cutting)

        assert broken == []
        assert set(cutter.cuts) == set(EVERY_CUT)
