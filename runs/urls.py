from django.urls import path

from runs import views

urlpatterns = [
    path("", views.run_list, name="run-list"),
    path("<uuid:run_id>/", views.run_detail, name="run-detail"),
    path("<uuid:run_id>/journal/", views.journal_list, name="journal-list"),
    path("<uuid:run_id>/lineage/", views.lineage_detail, name="lineage-detail"),
    path("<uuid:run_id>/branches/", views.branch_list, name="branch-list"),
]
