"""The same settings without middleware: nothing between an asynchronous server and a coroutine is synchronous."""

from tests.settings import *  # noqa: F403
from tests.settings import MIDDLEWARE

MIDDLEWARE.clear()
