"""The test suite's settings, with django-unfold in the place of Django's own theme."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as APPS

INSTALLED_APPS = ["unfold", *APPS]
ROOT_URLCONF = "tests.admin.unfold_urls"
