from django.contrib import admin
from django.urls import include, path

from tests.app import stepped, views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("http/", include("tests.app.http_urls")),
    path("scripted/", views.scripted, name="scripted"),
    path("keyed/", views.keyed, name="keyed"),
    path("keyed-async/", views.keyed_async, name="keyed-async"),
    path("keyed-drf/", views.KeyedView.as_view(), name="keyed-drf"),
    path("stepped/", stepped.view, name="stepped"),
    path("process/", views.process, name="process"),
    path("whoami/", views.whoami, name="whoami"),
]
