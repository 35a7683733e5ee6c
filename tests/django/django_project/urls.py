"""The views, by name."""

from django.urls import path

from django_project import views

urlpatterns = [
    path("issue/", views.issue),
    path("issue-and-fail/", views.issue_and_fail),
    path("remind-later/", views.remind_later),
    path("issue-without-blocking/", views.issue_without_blocking),
]
