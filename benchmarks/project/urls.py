from __future__ import annotations

from django.contrib import admin
from django.urls import path
from django.utils.module_loading import import_string

from benchmarks.project.sides import ATOMIC, OURS, sides
from benchmarks.project.uploads import AtomicUploadView, OurUploadView

urlpatterns = [
    path("admin/", admin.site.urls),
    path(f"upload{ATOMIC.path}", AtomicUploadView.as_view()),
    path(f"upload{OURS.path}", OurUploadView.as_view()),
    *(path(side.path.removeprefix("/"), import_string(side.view).as_view()) for side in sides()),
]
