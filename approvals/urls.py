from django.urls import path

from approvals import views

urlpatterns = [
    path("", views.gate_list, name="gate-list"),
    path("<uuid:gate_id>/", views.gate_detail, name="gate-detail"),
    path("<uuid:gate_id>/decisions/", views.decision_create, name="decision-create"),
]
