"""Addresses of the example project."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("demo/", include("example_project.demo.urls")),
    path("", include("example_project.payments.urls")),
    *staticfiles_urlpatterns(),  # The admin's style sheets, while DEBUG is on.
]
