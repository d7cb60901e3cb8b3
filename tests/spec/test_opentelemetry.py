"""OpenTelemetry's counter and spans, in the memory of its own SDK."""

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from django_idempotency import opentelemetry, signals
from django_idempotency.models import IdempotencyKey
from tests.spec.test_signals import post
from tests.spec.urls import DOORS


@pytest.fixture(scope="session")
def reader():
    """Return what reads all metrics; a process has one provider of them for good."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return reader


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("tests")
    provider.shutdown()


@pytest.fixture(autouse=True)
def connected():
    opentelemetry.connect()
    yield
    for signal in (signals.executed, signals.replayed, signals.refused):
        assert signal.disconnect(dispatch_uid="django_idempotency.opentelemetry")


def read(reader):
    """Return the counter's values by their attributes."""
    data = reader.get_metrics_data()
    points = [
        point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if (scope.scope.name, metric.name) == ("django_idempotency", "idempotency.operations")
        for point in metric.data.data_points
    ]
    return {tuple(sorted(point.attributes.items())): point.value for point in points}


@pytest.mark.urls("tests.spec.urls")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("door", DOORS)
class TestConnect:
    def test_span_tells_the_outcome(self, door, tracer, exporter):
        for request in ({}, {}, {"data": {"other": "content"}}, {"key": None}):
            with tracer.start_as_current_span("request"):
                post(door, **request)

        digest = {"idempotency.digest": str(IdempotencyKey.objects.get().pk)}
        assert [dict(span.attributes) for span in exporter.get_finished_spans()] == [
            {"idempotency.outcome": "executed", **digest},
            {"idempotency.outcome": "replayed", **digest},
            {"idempotency.outcome": "refused", "idempotency.code": "idempotency_key_reused", **digest},
            {"idempotency.outcome": "refused", "idempotency.code": "idempotency_key_missing"},
        ]

    def test_outcomes_are_counted(self, door, reader):
        before = read(reader)
        opentelemetry.connect()  # Again, it does nothing.
        post(door)
        post(door)
        post(door, key="a b")

        assert {labels: value - before.get(labels, 0) for labels, value in read(reader).items()} == {
            **dict.fromkeys(before, 0),
            (("idempotency.outcome", "executed"),): 1,
            (("idempotency.outcome", "replayed"),): 1,
            (("idempotency.code", "idempotency_key_invalid"), ("idempotency.outcome", "refused")): 1,
        }

    def test_without_a_span_nothing_breaks(self, door):
        assert post(door).status_code == 201
