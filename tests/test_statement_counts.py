"""What a guarded request costs its database, beside the same handler in atomic()."""

from typing import NamedTuple

import pytest
from django.db import connection
from django.db.transaction import atomic
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext

from django_idempotency import claims
from tests.app.models import Effect
from tests.app.views import effect
from tests.doors import DOORS, coroutine, decorated_as_coroutine_view, decorated_coroutine_method, function, send
from tests.operations import expire_keys, labels

# Their statements run on another thread's connection than the one that is counted.
SYNCHRONOUS_DOORS = [
    door for door in DOORS if door not in {coroutine, decorated_coroutine_method, decorated_as_coroutine_view}
]

pytestmark = pytest.mark.django_db(transaction=True)


class Cost(NamedTuple):
    """How many statements, savepoints' among them, and how many commits."""

    statements: int
    commits: int


def handler(request):
    effect("a")
    return HttpResponse("charged", status=201)


def bare(request):
    with atomic():
        return handler(request)


def cost_of(view, **request):
    """Return what a request to *view* costs."""
    with CaptureQueriesContext(connection) as queries:
        response = send(view, **request)
    assert response.status_code == 201
    sql = [query["sql"].upper() for query in queries]
    own = [statement for statement in sql if not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK;"))]
    return Cost(statements=len(own), commits=sum(statement.startswith("COMMIT") for statement in sql))


def warm_up(view):
    """Let what is asked of a database once (its version, its features) be asked before it is counted."""
    send(view, key="warm-up")
    Effect.objects.all().delete()


@pytest.mark.parametrize("door", SYNCHRONOUS_DOORS)
class TestStatements:
    def test_first_request_costs_two_and_no_commit(self, door):
        view = door(handler)
        warm_up(view)

        first, without = cost_of(view, key="k"), cost_of(bare)

        assert without == Cost(statements=1, commits=1)
        assert first == Cost(statements=without.statements + 2, commits=without.commits)

    def test_replay_costs_at_most_two(self, door):
        view = door(handler)
        warm_up(view)
        send(view, key="k")

        replay = cost_of(view, key="k")

        assert replay.statements <= 2
        assert labels() == ["a"]

    def test_request_without_a_key_costs_nothing(self, door):
        view = door(handler)
        warm_up(view)

        assert cost_of(view).statements == 1


@pytest.mark.engine("mariadb")
class TestStatementsOfMySQL:
    @pytest.fixture(autouse=True)
    def claimer(self, monkeypatch):
        monkeypatch.setitem(claims.CLAIMERS, "mariadb", claims.claim_on_mysql)

    def test_first_request_costs_three_and_no_commit(self):
        view = function(handler)
        warm_up(view)

        first, without = cost_of(view, key="k"), cost_of(bare)

        assert first == Cost(statements=without.statements + 3, commits=without.commits)

    def test_replay_costs_two(self):
        view = function(handler)
        warm_up(view)
        send(view, key="k")

        assert cost_of(view, key="k").statements == 2


class TestStatementsOfRenewal:
    def test_expired_key_is_renewed_within_one_commit_of_effects(self):
        view = function(handler)
        warm_up(view)
        send(view, key="k")
        expire_keys()

        cost_of(view, key="k")

        assert labels() == ["a", "a"]
