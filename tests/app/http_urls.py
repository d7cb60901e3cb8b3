"""The addresses of tests.app.http_views; the number in some makes another operation of the same request."""

from django.urls import path

from tests.app import http_views as views

urlpatterns = [
    path("plain/<int:number>/", views.plain),
    path("class/<int:number>/", views.ClassView.as_view()),
    path("api-view/<int:number>/", views.api_view_function),
    path("method/<int:number>/", views.MethodView.as_view()),
    path("mixin/<int:number>/", views.MixinViewSet.as_view(views.ACTIONS)),
    path("action/<int:number>/", views.ActionViewSet.as_view(views.ACTIONS)),
    path("async/<int:number>/", views.coroutine),
    path("plain-wait/<int:number>/", views.waiting),
    path("mixin-wait/<int:number>/", views.WaitingViewSet.as_view(views.ACTIONS)),
    path("async-wait/<int:number>/", views.waiting_coroutine),
    path("plain-short-wait/<int:number>/", views.waiting_shortly),
    path("plain-required/<int:number>/", views.required),
    path("mixin-required/<int:number>/", views.RequiredViewSet.as_view(views.ACTIONS)),
    path("plain-staff/<int:number>/", views.staff_only),
    path("mixin-staff/<int:number>/", views.StaffViewSet.as_view(views.ACTIONS)),
    path("api-view-staff/<int:number>/", views.staff_api_view),
]
