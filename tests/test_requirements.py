"""What an argument or a setting may be."""

from datetime import timedelta
from itertools import chain
from typing import Any

import pytest

from django_idempotency.requirements import REQUIREMENTS

ACCEPTED: dict[str, list[Any]] = {
    "required": [True, False],
    "steps": [True, False],
    "lease": [1, 0.5 + 0.5, timedelta(minutes=5), 86400],
    "keep_request": [True, False, ("X-Tenant",)],
    "keep_arguments": [True, False],
    "ttl": [1, 0.5, timedelta(days=2), timedelta(days=3650)],
    "tombstone_ttl": [0, timedelta(0), 3600],
    "purge_overdue": [60, timedelta(weeks=1)],
    "wait": [0, 0.5, 3600],
    "scope": [str, lambda request: "a"],
    "key_validator": [str, lambda key: None],
    "methods": [("POST",), ["PUT", "DELETE"], frozenset(), {"PATCH"}],
    "using": ["default"],
    "reruns": [0, 3],
    "stored_statuses": [range(200, 300), [201], set(), {200: "OK"}],
    "stored_headers": [(), ("X-Name",), ["x-name"]],
    "max_response_bytes": [0, 2**20],
    "ignored_fields": [(), {"timestamp"}],
    "reused_status": [409, 422],
    "retry_after": [1, 60],
    "documentation_url": ["https://example.com/errors"],
}
REFUSED: dict[str, list[Any]] = {
    "required": [1, 0, "yes"],
    "steps": [1, "yes"],
    "keep_request": [1, "X-Tenant", [1], [""], ["Authorization"], ["X-Tenant", "cookie"]],
    "keep_arguments": [1, "yes"],
    "lease": [0, 0.5, -1, True, "30s", timedelta(days=2), float("nan")],
    "ttl": [
        *(0, -1, timedelta(0), timedelta(seconds=-1), True, "24h", 1e300),
        *(float("nan"), float("inf"), timedelta(days=3651)),
    ],
    "tombstone_ttl": [-1, "1", timedelta(seconds=-1), float("nan"), True],
    "purge_overdue": [0, timedelta(0), "1d", True],
    "wait": [-1, "1", True, timedelta(1), float("nan"), float("inf"), 3601],
    "scope": ["no.longer.a.path", 1],
    "key_validator": [1],
    "methods": ["POST", ("post",), [1], [""], 1, b"POST", iter(["POST"])],
    "using": ["", 1],
    "reruns": [-1, 1.0, True, "1"],
    "stored_statuses": [200, [99], [600], ["200"], [True], "200"],
    "stored_headers": ["X-Name", [1], b"X-Name", [""]],
    "max_response_bytes": [-1, 1.0, True, "1"],
    "ignored_fields": ["timestamp", [1]],
    "reused_status": [400, "409", 409.0, True],
    "retry_after": [0, -1, 1.5, True],
    "documentation_url": ["", 1],
}


def pairs(values):
    return list(chain.from_iterable([(name, value) for value in values[name]] for name in values))


class TestRequirements:
    def test_each_is_tried_here(self):
        assert set(REQUIREMENTS) == set(ACCEPTED) == set(REFUSED)

    @pytest.mark.parametrize(("name", "value"), pairs(ACCEPTED), ids=repr)
    def test_accepts(self, name, value):
        assert REQUIREMENTS[name].accepts(value)

    @pytest.mark.parametrize(("name", "value"), pairs(REFUSED), ids=repr)
    def test_refuses(self, name, value):
        assert not REQUIREMENTS[name].accepts(value)

    @pytest.mark.parametrize("name", REQUIREMENTS)
    def test_says_what_it_accepts(self, name):
        assert REQUIREMENTS[name].words
