import os

from django.urls import path
from django.utils.module_loading import import_string

from benchmarks.comparison.packages import package

_guarding = package(os.environ["BENCHMARK_SIDE"])

urlpatterns = [path(_guarding.path.removeprefix("/"), import_string(_guarding.view)())]
