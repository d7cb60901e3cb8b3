from django.urls import path

from tests.app.views import process
from tests.spec import views

DOORS = ("/plain/", "/async/", "/decorated/", "/mixin/")

urlpatterns = [
    path("plain/", views.plain),
    path("async/", views.coroutine),
    path("decorated/", views.DecoratedView.as_view()),
    path("mixin/", views.MixinView.as_view()),
    path("process/", process),
]
