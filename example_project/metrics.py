"""What Prometheus collects. It is open to all here; in production, let only Prometheus in."""

import os

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:  # noqa: ARG001  # every view gets one
    """Tell what all processes of the server have counted, whichever of them is asked.

    They share files in PROMETHEUS_MULTIPROC_DIR. Without that, as under `manage.py runserver`, there is one process.
    """
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no annotations
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
