"""The core, where nothing but Django is installed."""

import subprocess
import sys
from textwrap import dedent

import pytest

EXTRAS = (
    *("rest_framework", "drf_spectacular", "prometheus_client", "opentelemetry"),
    *("celery", "kombu", "nats", "tqdm", "environ"),
)
PROJECT = """
    import sys
    sys.modules.update(dict.fromkeys({extras}))

    from django.conf import settings
    settings.configure(
        SECRET_KEY="secret",
        ROOT_URLCONF="__main__",
        ALLOWED_HOSTS=["*"],
        DATABASES={{
            "default": {{
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": {database!r},
                "OPTIONS": {{"transaction_mode": "IMMEDIATE"}},
            }}
        }},
        INSTALLED_APPS=["django_idempotency"],
    )
    import django
    django.setup()

    from django.core.management import call_command
    from django.http import HttpResponse
    from django.test import AsyncClient, Client
    from django.urls import path
    from django_idempotency.decorators import idempotent

    runs = []

    @idempotent
    def charges(request):
        runs.append(request.body)
        return HttpResponse(str(len(runs)), status=201)

    @idempotent(required=True)
    async def orders(request):
        return HttpResponse()

    urlpatterns = [path("charges/", charges), path("orders/", orders)]
    call_command("migrate", verbosity=0)
    call_command("check", databases=["default"], fail_level="WARNING")
    call_command("idempotency_endpoints", "--check")
    call_command("purge_idempotency_keys", verbosity=0)
    headers = {{"Idempotency-Key": "key"}}
    answers = [Client().post("/charges/", b"body", "text/plain", headers=headers) for _ in range(2)]
    print([(answer.status_code, answer.content, answer.get("Idempotent-Replayed")) for answer in answers])
    print(Client().post("/orders/").json()["code"])
"""


@pytest.mark.engine("sqlite")
class TestDjangoAlone:
    def test_is_all_that_the_core_needs(self, tmp_path):
        program = dedent(PROJECT).format(extras=EXTRAS, database=str(tmp_path / "db.sqlite3"))

        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program], check=False, capture_output=True, text=True
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-2:] == [
            "[(201, b'1', None), (201, b'1', 'true')]",
            "idempotency_key_missing",
        ]
