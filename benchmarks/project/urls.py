from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.utils.module_loading import import_string

from benchmarks.project.sides import sides

urlpatterns = [
    path("admin/", admin.site.urls),
    *(path(side.path.removeprefix("/"), import_string(side.view).as_view()) for side in sides()),
]
