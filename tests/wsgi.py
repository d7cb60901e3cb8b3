"""The application that the tests' server runs.

Every request holds a shared lock on the file REQUESTS_LOCK until its response is closed, so that
a test can wait until none is left. A killed process lets go of it, too.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from typing import IO
from wsgiref.types import StartResponse, WSGIEnvironment

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

django = get_wsgi_application()


class Held:
    """An iterable of bytes that lets go of *lock* when it is closed."""

    def __init__(self, content: Iterable[bytes], lock: IO[bytes]) -> None:
        self.content = content
        self.lock = lock

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.content)

    def close(self) -> None:
        try:
            if hasattr(self.content, "close"):
                self.content.close()
        finally:
            self.lock.close()


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer like Django, while holding the lock."""
    lock = open(os.environ["REQUESTS_LOCK"], "rb")  # noqa: PTH123, SIM115
    fcntl.flock(lock, fcntl.LOCK_SH)
    return Held(django(environ, start_response), lock)
