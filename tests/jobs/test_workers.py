"""Background jobs in real workers, on real brokers, some of them killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_idempotency.models import IdempotentRun
from tests.app.models import Effect
from tests.jobs.worker import Outcome, Workers, workers

pytestmark = pytest.mark.django_db(transaction=True)


on_brokers = [
    pytest.param("rabbitmq", marks=pytest.mark.broker("rabbitmq")),
    pytest.param("redis", marks=pytest.mark.broker("redis")),
]


@pytest.fixture(params=on_brokers)
def queue(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Workers]:
    """Return a queue without workers."""
    with workers(request.param) as queue:
        yield queue


@pytest.fixture(scope="module", params=on_brokers)
def shared_queue(request: pytest.FixtureRequest, engine: str) -> Iterator[Workers]:
    """Return a queue with a worker of four processes, for tests that leave it alive."""
    with workers(request.param) as queue:
        queue.start(concurrency=4)
        yield queue


class TestKilledWorker:
    def test_killed_in_the_job_leaves_it_to_the_next(self, queue):
        gate = queue.gate()
        queue.start()
        queue.send("charge", inside=gate.path)
        queue.kill(gate.wait().pid)
        gate.open()

        queue.start()
        outcomes = queue.wait_for(SUCCESS=1)

        assert results(outcomes) == {Effect.objects.get(label="charged").pk}

    def test_killed_between_commit_and_acknowledgement_does_not_repeat_the_job(self, queue):
        gate = queue.gate()
        queue.start()
        queue.send("charge", after=gate.path)
        queue.kill(gate.wait().pid)
        gate.open()

        queue.start()
        outcomes = queue.wait_for(SUCCESS=2)

        assert len({outcome.task_id for outcome in outcomes}) == 1
        assert results(outcomes) == {Effect.objects.get(label="charged").pk}

    @pytest.mark.engine("postgresql", "mariadb")
    def test_killed_in_the_job_leaves_it_to_the_duplicate(self, queue):
        gate = queue.gate()
        queue.start(concurrency=1)
        queue.send("charge_order", 1, inside=gate.path)
        visitor = gate.wait()
        queue.start(concurrency=1)
        duplicate = queue.send("charge_order", 1, inside=gate.path)
        queue.wait_for(RETRY=2)
        queue.kill(visitor.pid)
        gate.open()

        # The first one is delivered again, too.
        outcomes = queue.wait_for(SUCCESS=2)

        assert duplicate in {outcome.task_id for outcome in outcomes if outcome.state == "SUCCESS"}
        assert results(outcomes) == {Effect.objects.get(label="charged").pk}

    # On SQLite, one worker that writes keeps the others from it.
    @pytest.mark.engine("postgresql", "mariadb")
    def test_killed_between_steps_leaves_the_rest_to_the_next(self, queue):
        points = ["in order", "after order", "in charge", "after charge", "in confirm", "after confirm"]
        queue.start(concurrency=3)
        sent = {queue.send("charge_in_steps", point) for point in points}

        number = len(sent)
        while {each.task_id for each in queue.wait_for(SUCCESS=number) if each.state == "SUCCESS"} < sent:
            number += 1  # Redis has delivered one again that had ended.

        for point in points:
            steps = Effect.objects.filter(label__startswith=f"{point}: ").order_by("pk").values_list("label", flat=True)
            done = [label.removeprefix(f"{point}: ").split() for label in steps]
            assert [name for name, *_ in done if name != "charge"] == ["order", "confirm"]
            # An uncertain call is made again, with the same key.
            assert len({tuple(keys) for name, *keys in done if name == "charge"}) == 1
        assert IdempotentRun.objects.filter(attempt__gt=1).count() == len(points)


class TestDuplicates:
    def test_delivered_again_after_success(self, shared_queue):
        for _ in range(3):
            shared_queue.send("charge", task_id="a")

        outcomes = shared_queue.wait_for(SUCCESS=3)

        assert results(outcomes) == {Effect.objects.get(label="charged").pk}

    def test_enqueued_ten_times_at_once(self, shared_queue):
        for _ in range(10):
            shared_queue.send("charge_order", 1)

        outcomes = shared_queue.wait_for(SUCCESS=10)

        assert results(outcomes) == {Effect.objects.get(label="charged").pk}

    # `charge_order` gives up after one retry of its own.
    @pytest.mark.engine("postgresql", "mariadb")
    def test_in_flight_comes_again_until_the_first_one_has_ended(self, shared_queue):
        gate = shared_queue.gate()
        shared_queue.send("charge_order", 1, inside=gate.path)
        gate.wait()
        duplicate = shared_queue.send("charge_order", 1, inside=gate.path)
        shared_queue.wait_for(RETRY=4)
        gate.open()

        outcomes = shared_queue.wait_for(SUCCESS=2)

        assert duplicate in {outcome.task_id for outcome in outcomes if outcome.state == "RETRY"}
        assert results(outcomes) == {Effect.objects.get(label="charged").pk}

    # Redis gives the message to another process, time and again.
    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.parametrize("shared_queue", on_brokers[1:], indirect=True)
    def test_visibility_timeout_elapses_in_the_job(self, shared_queue):
        gate = shared_queue.gate()
        task_id = shared_queue.send("charge", inside=gate.path)
        gate.wait()
        shared_queue.wait_for(RETRY=2)
        gate.open()

        outcomes = shared_queue.wait_for(SUCCESS=2)

        assert {outcome.task_id for outcome in outcomes} == {task_id}
        assert results(outcomes) == {Effect.objects.get(label="charged").pk}

    def test_coroutine_retries_and_is_done_once(self, shared_queue):
        shared_queue.send("charge_order_async", 1)
        shared_queue.wait_for(RETRY=1, SUCCESS=1)
        shared_queue.send("charge_order_async", 1)

        outcomes = shared_queue.wait_for(RETRY=1, SUCCESS=2)

        assert results(outcomes) == {Effect.objects.get(label="charged").pk}


def results(outcomes: list[Outcome]) -> set[object]:
    """Return what the jobs returned that were done, or had been."""
    return {outcome.result for outcome in outcomes if outcome.state == "SUCCESS"}
