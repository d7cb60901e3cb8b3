"""Addresses of the demo."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from example_project.demo.views import UnguardedChargeViewSet

router = SimpleRouter()
router.register("unguarded-charges", UnguardedChargeViewSet, basename="unguarded-charge")

urlpatterns = [path("", include(router.urls))]
