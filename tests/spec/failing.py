"""The tests' applications, in processes where the receivers of every signal raise."""

import tests.asgi
import tests.wsgi
from django_idempotency import signals

wsgi_application = tests.wsgi.application
asgi_application = tests.asgi.application


class ReceiverError(Exception):
    """What each receiver raises."""


def fail(**kwargs: object) -> None:
    raise ReceiverError


async def afail(**kwargs: object) -> None:
    raise ReceiverError


for signal in (signals.executed, signals.replayed, signals.refused, signals.expired, signals.purged):
    for receiver in (fail, afail):
        signal.connect(receiver)
