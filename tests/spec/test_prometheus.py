"""Prometheus' metrics, read by its own client."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from django_idempotency import prometheus, signals
from tests.operations import expire_keys
from tests.spec.test_signals import LARGE, post
from tests.spec.urls import DOORS

LABELS = [
    ("executed", ""),
    ("replayed", ""),
    ("refused", "idempotency_key_missing"),
    ("refused", "idempotency_key_invalid"),
    ("refused", "idempotency_key_reused"),
    ("refused", "idempotency_request_in_progress"),
    ("refused", "idempotency_response_not_stored"),
    ("refused", "idempotency_response_expired"),
]


@pytest.fixture(autouse=True)
def connected():
    prometheus.connect()
    yield
    for signal in (signals.executed, signals.replayed, signals.refused):
        assert signal.disconnect(dispatch_uid="django_idempotency.prometheus")


@pytest.fixture
def counted():
    """Return what was counted since the test began, without what was not."""
    before = read()

    def since():
        return {labels: number - before[labels] for labels, number in read().items() if number != before[labels]}

    return since


def read():
    counts: dict[Any, float | None] = {
        (outcome, code): REGISTRY.get_sample_value("idempotency_operations_total", {"outcome": outcome, "code": code})
        for outcome, code in LABELS
    }
    counts["handlers"] = REGISTRY.get_sample_value("idempotency_handler_seconds_count")
    return {labels: number or 0 for labels, number in counts.items()}


@pytest.mark.urls("tests.spec.urls")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("door", DOORS)
class TestConnect:
    def test_each_outcome_is_counted(self, door, counted, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 60
        post(door)
        post(door)
        post(door)
        post(door, data={"other": "content"})
        post(door, key=None)
        post(door, key="a b")
        post(door, key="large", script=LARGE)
        post(door, key="large", script=LARGE)
        expire_keys()
        post(door)

        assert counted() == {
            ("executed", ""): 2,
            ("replayed", ""): 2,
            ("refused", "idempotency_key_missing"): 1,
            ("refused", "idempotency_key_invalid"): 1,
            ("refused", "idempotency_key_reused"): 1,
            ("refused", "idempotency_response_not_stored"): 1,
            ("refused", "idempotency_response_expired"): 1,
            "handlers": 2,
        }

    def test_handler_is_timed(self, door, events):
        before = REGISTRY.get_sample_value("idempotency_handler_seconds_sum") or 0.0
        post(door)

        after = REGISTRY.get_sample_value("idempotency_handler_seconds_sum") or 0.0
        assert after - before == pytest.approx(events[0]["seconds"])

    def test_what_is_rolled_back_is_not_counted(self, door, counted):
        post(door, script=[["respond", "", {"status": 503}]])

        assert counted() == {}

    def test_connecting_again_counts_once(self, door, counted):
        prometheus.connect()
        post(door)

        assert counted() == {("executed", ""): 1, "handlers": 1}

    def test_labels_are_few(self, door):
        post(door)
        post(door, key=None)

        families = text_string_to_metric_families(generate_latest().decode())
        samples = [sample for family in families if family.name.startswith("idempotency") for sample in family.samples]
        assert {name for sample in samples for name in sample.labels} == {"outcome", "code", "le"}
        outcomes = {(sample.labels["outcome"], sample.labels["code"]) for sample in samples if "code" in sample.labels}
        assert outcomes <= set(LABELS)
