from django.urls import path

from console.listing import views as listing
from console.run_page import views as run_page

urlpatterns = [
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
