"""The frame itself: engines, gates, servers, faults."""

import os

import pytest
from django.db import DatabaseError, connections, transaction

from tests import engines
from tests.app.faults import cut_session, doom_commit
from tests.app.models import Effect
from tests.factories import UserFactory
from tests.gate import Gate, pass_gate
from tests.server import Server
from tests.threads import together


class TestEngine:
    @pytest.mark.django_db(databases=["default", "other"])
    @pytest.mark.parametrize("alias", ["default", "other"])
    def test_connection_is_the_engine_asked_for(self, alias, engine):
        assert engines.kind(connections[alias]) == engine

    @pytest.mark.django_db(databases=["default", "other"])
    def test_aliases_are_different_databases(self):
        Effect.objects.using("other").create(label="there")

        assert not Effect.objects.exists()

    @pytest.mark.engine("sqlite")
    def test_runs_on_sqlite_only(self, engine):
        assert engine == "sqlite"

    @pytest.mark.engine("postgresql", "mariadb")
    def test_runs_on_servers_only(self, engine):
        assert engine in ("postgresql", "mariadb")


class TestGate:
    def test_view_waits_until_opened(self, gate):
        passed = []

        def visit():
            pass_gate(gate.path)
            passed.append(True)

        def watch():
            visitor = gate.wait()
            before = list(passed)
            visitor.open()
            return visitor.pid, before

        _, (pid, before) = together([visit, watch])

        assert pid == os.getpid()
        assert before == []
        assert passed == [True]

    def test_opened_gate_stops_no_one(self):
        gate = Gate()
        gate.open()

        pass_gate(gate.path)

    def test_nobody_comes(self, gate):
        with pytest.raises(TimeoutError):
            gate.wait(timeout=0.01)


@pytest.mark.django_db(transaction=True)
class TestFaults:
    @pytest.mark.django_db(transaction=True, databases=["default", "other"])
    @pytest.mark.parametrize("alias", ["default", "other"])
    def test_commit_fails_after_every_statement_succeeded(self, alias):
        reached_commit = False
        with pytest.raises(DatabaseError), transaction.atomic(using=alias):  # noqa: PT012
            Effect.objects.using(alias).create(label="a")
            doom_commit(alias)
            reached_commit = True

        assert reached_commit
        assert not Effect.objects.using(alias).exists()

    @pytest.mark.engine("postgresql", "mariadb")
    def test_cut_session_leaves_nothing_behind(self):
        with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012
            Effect.objects.create(label="a")
            cut_session()
            Effect.objects.create(label="b")

        assert not Effect.objects.exists()


class TestServer:
    def test_effects_reach_the_test_database(self, server: Server):
        response = server.post("/scripted/", script=[["effect", "a"], ["effect", "b"]])

        assert response.status_code == 201
        assert Effect.objects.count() == 2

    def test_several_processes_answer(self, server: Server):
        gate = server.gate()
        script = [["gate", gate.path]]

        def watch():
            pids = {gate.wait().pid for _ in range(12)}
            gate.open()
            return pids

        pids, *_ = together([watch, *[lambda: server.post("/scripted/", script=script)] * 12])

        assert len(pids) == 2
        assert pids == server.worker_pids

    def test_killed_worker_is_replaced(self, server: Server):
        gate = server.gate()

        def visit():
            with pytest.raises(Exception, match="disconnected"):
                server.post("/scripted/", script=[["effect", "a"], ["gate", gate.path]])

        def kill():
            visitor = gate.wait()
            server.kill_worker(visitor.pid)
            visitor.wait_gone()
            return visitor.pid

        _, pid = together([visit, kill])

        assert server.request("GET", "/process/").status_code == 200
        assert pid not in server.worker_pids
        assert Effect.objects.count() == 1

    def test_user_is_authenticated(self, server: Server):
        user = UserFactory.create()

        response = server.request("GET", "/whoami/", user=user.username)

        assert response.text == user.username

    def test_asgi_server_answers(self, asgi_server: Server):
        response = asgi_server.post("/scripted/", script=[["effect", "a"]])

        assert response.status_code == 201
        assert Effect.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/keyed/", "/keyed-async/", "/keyed-drf/"])
class TestKeyedViews:
    @pytest.mark.parametrize("name", ["server", "asgi_server"])
    def test_retry_replays(self, path, name, request):
        server: Server = request.getfixturevalue(name)
        first = server.post(path, key="abc", script=[["effect", "a"]])

        second = server.post(path, key="abc", script=[["effect", "b"]])

        assert (first.status_code, second.status_code) == (201, 201)
        assert second.headers["Idempotent-Replayed"] == "true"
        assert first.content == second.content
        assert [effect.label for effect in Effect.objects.all()] == ["a"]
