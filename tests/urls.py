from django.contrib import admin
from django.urls import path

from tests.app import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("scripted/", views.scripted, name="scripted"),
    path("process/", views.process, name="process"),
    path("whoami/", views.whoami, name="whoami"),
]
