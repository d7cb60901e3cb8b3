"""The settings of a server in a storm; FAULTS_DATABASE, as JSON, replaces parts of its database's settings."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, MIDDLEWARE

DATABASES["default"]["CONN_HEALTH_CHECKS"] = False  # What meets a session that was cut is a part of the storm.
DATABASES["default"].update(json.loads(os.environ.get("FAULTS_DATABASE", "{}")))
ROOT_URLCONF = "tests.faults.urls"
MIDDLEWARE.clear()
