"""The settings: what each is without a line in the project's settings, and that each is read late."""

from datetime import timedelta

import pytest

from django_idempotency import conf
from django_idempotency.conf import (
    DEFAULT_STORED_HEADERS,
    DEFAULT_STORED_STATUSES,
    NEVER_STORED_HEADERS,
    as_timedelta,
    lowered_headers,
)
from django_idempotency.http import scope_of


def tenant(request):
    return "tenant"


def accept(key):
    pass


class TestSettings:
    def test_defaults(self):
        assert conf.settings.ttl == timedelta(hours=24)
        assert conf.settings.tombstone_ttl == timedelta(0)
        assert conf.settings.purge_overdue == timedelta(days=2)
        assert conf.settings.required is False
        assert conf.settings.wait == 0
        assert conf.settings.methods == {"POST", "PATCH"}
        assert conf.settings.scope is None
        assert conf.settings.key_validator is None
        assert conf.settings.stored_statuses == DEFAULT_STORED_STATUSES
        assert conf.settings.stored_headers == DEFAULT_STORED_HEADERS
        assert conf.settings.max_response_bytes == 1024 * 1024
        assert conf.settings.reused_status == 409
        assert conf.settings.retry_after == 1
        assert conf.settings.documentation_url.startswith("https://")

    @pytest.mark.parametrize(
        ("setting", "name", "value", "expected"),
        [
            ("IDEMPOTENCY_TTL", "ttl", timedelta(days=2), timedelta(days=2)),
            ("IDEMPOTENCY_TTL", "ttl", 90, timedelta(seconds=90)),
            ("IDEMPOTENCY_TTL", "ttl", 0.5, timedelta(milliseconds=500)),
            ("IDEMPOTENCY_TOMBSTONE_TTL", "tombstone_ttl", 90, timedelta(seconds=90)),
            ("IDEMPOTENCY_PURGE_OVERDUE", "purge_overdue", 90, timedelta(seconds=90)),
            ("IDEMPOTENCY_REQUIRED", "required", True, True),
            ("IDEMPOTENCY_WAIT", "wait", 2, 2.0),
            ("IDEMPOTENCY_METHODS", "methods", ["PUT"], {"PUT"}),
            ("IDEMPOTENCY_SCOPE", "scope", tenant, tenant),
            ("IDEMPOTENCY_SCOPE", "scope", "tests.test_conf.tenant", tenant),
            ("IDEMPOTENCY_KEY_VALIDATOR", "key_validator", accept, accept),
            ("IDEMPOTENCY_KEY_VALIDATOR", "key_validator", "tests.test_conf.accept", accept),
            ("IDEMPOTENCY_STORED_STATUSES", "stored_statuses", [201], [201]),
            ("IDEMPOTENCY_STORED_HEADERS", "stored_headers", ["X-Name"], DEFAULT_STORED_HEADERS | {"x-name"}),
            ("IDEMPOTENCY_MAX_RESPONSE_BYTES", "max_response_bytes", 0, 0),
            ("IDEMPOTENCY_REUSED_STATUS", "reused_status", 422, 422),
            ("IDEMPOTENCY_RETRY_AFTER", "retry_after", 5, 5),
            ("IDEMPOTENCY_DOCUMENTATION_URL", "documentation_url", "https://example.com/", "https://example.com/"),
        ],
    )
    def test_each_is_read_late(self, settings, setting, name, value, expected):
        setattr(settings, setting, value)

        assert getattr(conf.settings, name) == expected

    @pytest.mark.parametrize("name", [name for name in dir(conf.Settings) if not name.startswith("_")])
    def test_none_means_the_default(self, settings, name):
        default = getattr(conf.settings, name)

        setattr(settings, f"IDEMPOTENCY_{name.upper()}", None)

        assert getattr(conf.settings, name) == default

    def test_scope_is_called_with_the_request(self, rf, settings):
        settings.IDEMPOTENCY_SCOPE = "tests.test_conf.tenant"

        assert scope_of(rf.post("/")) == "tenant"


class TestStoredStatuses:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 301, 302, 303, 307, 402, 404, 405, 410, 412, 418, 451])
    def test_answers_are_stored(self, status):
        assert status in conf.settings.stored_statuses

    @pytest.mark.parametrize("status", [400, 401, 403, 408, 409, 422, 425, 429, 500, 501, 502, 503, 504])
    def test_not_accepted_and_try_again_are_not(self, status):
        assert status not in conf.settings.stored_statuses


class TestStoredHeaders:
    @pytest.mark.parametrize(
        "name",
        [
            "Content-Type",
            "Content-Language",
            "Content-Disposition",
            "Content-Encoding",
            "Location",
            "Link",
            "ETag",
            "Last-Modified",
        ],
    )
    def test_what_describes_the_answer_is_stored(self, name):
        assert name.lower() in conf.settings.stored_headers

    @pytest.mark.parametrize(
        "name", ["Set-Cookie", "Authorization", "WWW-Authenticate", "Date", "Connection", "Transfer-Encoding"]
    )
    def test_no_setting_adds_credentials_or_hop_by_hop_headers(self, name):
        assert name.lower() in NEVER_STORED_HEADERS
        assert name.lower() not in lowered_headers([name, name.upper()])

    def test_nothing_is_both(self):
        assert not DEFAULT_STORED_HEADERS & NEVER_STORED_HEADERS


class TestAsTimedelta:
    def test_number_is_seconds(self):
        assert as_timedelta(1.5) == timedelta(seconds=1, milliseconds=500)

    def test_timedelta_stays(self):
        assert as_timedelta(timedelta(1)) == timedelta(1)
