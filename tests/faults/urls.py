from django.urls import path

from tests.app.views import process
from tests.faults import naive, views

urlpatterns = [
    path("process/", process),
    path("plain/", views.plain),
    path("waiting/", views.waiting),
    path("rerun/", views.rerun),
    path("careless/", views.careless),
    path("async/", views.coroutine),
    path("drf/", views.PaymentView.as_view()),
    path("unguarded/", naive.unguarded),
    path("recorded-afterwards/", naive.recorded_afterwards),
    path("recorded-first/", naive.recorded_first),
]
