"""Addresses of the example project."""

from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from example_project.metrics import metrics

urlpatterns = [
    path("admin/", admin.site.urls),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerView.as_view(), name="docs"),
    path("metrics", metrics),
    path("demo/", include("example_project.demo.urls")),
    path("shop/", include("example_project.shop.urls")),
    path("", include("example_project.payments.urls")),
    *staticfiles_urlpatterns(),  # The admin's style sheets, while DEBUG is on.
]
