"""What a failure says."""

from django_idempotency.testing.deaths import Fate, Moment
from django_idempotency.testing.lines import LineWatch
from django_idempotency.testing.sessions import Sessions
from django_idempotency.testing.verdicts import spell
from django_idempotency.testing.workers import Worker, code_of


class TestSpell:
    def test_worker_that_did_not_come_to_its_death_is_told(self):
        fate = Fate(moment=Moment.BEFORE, statement=7)
        worker = Worker(Sessions([]), LineWatch(client=code_of(str)), [], fate)

        assert "and was not interrupted" in spell(fate, worker)
