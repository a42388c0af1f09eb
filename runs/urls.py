from django.urls import path

from runs import views

urlpatterns = [
    path("<uuid:run_id>/lineage/", views.lineage_detail, name="lineage-detail"),
    path("<uuid:run_id>/branches/", views.branch_list, name="branch-list"),
]
