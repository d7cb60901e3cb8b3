"""What the kit raises."""


class NotExactlyOnce(AssertionError):
    """The request did not happen exactly once; the message says after which death, what is left, and why."""


class WorkerDied(BaseException):
    """The worker is dead: no `except Exception` of the request's may go on."""


class NotConforming(AssertionError):
    """The endpoint does not do with keys what it should; the message says what it did."""
