"""What a request began is waited for, but not for ever."""

import threading

import pytest
from django.db import connections

from django_idempotency.testing.lockstep import Lockstep
from django_idempotency.testing.threads import wait_for_threads
from tests.app.models import Effect
from tests.gate import TIMEOUT
from tests.threads import together


class TestWaitForThreads:
    def test_does_not_wait_for_ever(self):
        others = set(threading.enumerate())
        end = threading.Event()
        endless = threading.Thread(target=end.wait, args=(TIMEOUT,))
        endless.start()
        try:
            wait_for_threads(but=others, timeout=0.01)

            assert endless.is_alive()
        finally:
            end.set()
            endless.join()

    def test_waits_for_what_is_being_done(self):
        others = set(threading.enumerate())
        done: list[int] = []
        working = threading.Thread(target=lambda: done.append(sum(range(1_000_000))))
        working.start()

        wait_for_threads(but=others, timeout=TIMEOUT)

        assert done
        working.join()


@pytest.mark.django_db(transaction=True)
class TestLockstep:
    def test_nobody_waits_for_ever_for_one_who_does_not_come(self):
        lockstep = Lockstep(2, timeout=0.01)
        with lockstep.watching():
            [number] = together([Effect.objects.count])

        assert number == 0

    def test_one_who_connects_anew_stays_in_step(self):
        lockstep = Lockstep(2)

        def connect_twice():
            for _ in range(2):
                number = Effect.objects.count()
                connections["default"].close()
            lockstep.release()
            return number

        with lockstep.watching():
            numbers = together([connect_twice] * 2)

        assert numbers == [0, 0]
