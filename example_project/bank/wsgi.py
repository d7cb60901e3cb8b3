"""The bank for WSGI servers: `gunicorn example_project.bank.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.bank.settings"

application = get_wsgi_application()
