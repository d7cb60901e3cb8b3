"""Settings of the bank: another project than the shop's, in a process and on a database of its own.

The environment, or a file named `.env`, may set

BANK_DATABASE_URL  as DATABASE_URL in example_project/settings.py; a SQLite file of its own by default
BANK_TOKEN         what the shop has to send
DEBUG, SECRET_KEY, ALLOWED_HOSTS
"""

from example_project.settings import ALLOWED_HOSTS, BANK_TOKEN, BASE_DIR, DEBUG, SECRET_KEY, TIME_ZONE, USE_TZ, database

__all__ = ["ALLOWED_HOSTS", "BANK_TOKEN", "DEBUG", "SECRET_KEY", "TIME_ZONE", "USE_TZ"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django_idempotency",
    "example_project.bank",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "example_project.bank.urls"
WSGI_APPLICATION = "example_project.bank.wsgi.application"
DATABASES = {"default": database("BANK_DATABASE_URL", BASE_DIR / "bank.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
