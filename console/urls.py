from django.urls import path

from console import palette, people_views, profile_views
from console.listing import views as listing
from console.overview import views as overview
from console.run_page import views as run_page
from console.workers import worker_list
from console.workflow_pages import views as workflow_pages

urlpatterns = [
    path("", overview.overview, name="home"),
    path("commands/", palette.command_list, name="command-list"),
    path("settings/times/", profile_views.times_create, name="times-create"),
    path("settings/profile/", profile_views.profile_detail, name="profile-detail"),
    path("settings/people/", people_views.person_list, name="person-list"),
    path("settings/people/<int:user_id>/", people_views.person_detail, name="person-detail"),
    path("settings/people/<int:user_id>/password/", people_views.password_create, name="password-create"),
    path("settings/groups/", people_views.group_create, name="group-create"),
    path("settings/retention/", people_views.retention_list, name="retention-list"),
    path("workers/", worker_list, name="worker-list"),
    path("workflows/", workflow_pages.workflow_list, name="workflow-list"),
    path("workflows/<str:name>/", workflow_pages.workflow_detail, name="workflow-detail"),
    path("workflows/<str:name>/hold/", workflow_pages.workflow_hold, name="workflow-hold"),
    path("runs/", listing.run_list, name="run-list"),
    path("runs/completions/", listing.completion_list, name="completion-list"),
    path("runs/news/", listing.news_detail, name="news-detail"),
    path("runs/views/", listing.view_create, name="view-create"),
    path("runs/views/<int:view_id>/delete/", listing.view_delete, name="view-delete"),
    path("runs/<uuid:run_id>/", run_page.run_detail, name="run-detail"),
    path("runs/<uuid:run_id>/journal/", run_page.journal_list, name="journal-list"),
    path("runs/<uuid:run_id>/graph/", run_page.graph_detail, name="graph-detail"),
    path("runs/<uuid:run_id>/logs/", run_page.log_list, name="log-list"),
]
