"""Settings for the type checker, which must know the models of the example, too."""

from example_project.settings import *  # noqa: F403
from example_project.settings import INSTALLED_APPS as EXAMPLE

INSTALLED_APPS = [*EXAMPLE, "example_project.bank", "tests.app", "tests.docs.payments"]
