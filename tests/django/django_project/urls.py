"""The views, by name."""

from django.contrib import admin
from django.urls import path

from django_project import views
from django_project.office import office

urlpatterns = [
    path("admin/", admin.site.urls),
    path("office/", office.urls),
    path("issue/", views.issue),
    path("issue-and-fail/", views.issue_and_fail),
    path("remind-later/", views.remind_later),
    path("issue-without-blocking/", views.issue_without_blocking),
]
