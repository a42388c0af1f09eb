from django.urls import path

from engine import views

urlpatterns = [
    path("new/", views.workflow_list, name="workflow-choice"),
    path("new/<str:name>/", views.run_create, name="run-create"),
    path("<uuid:run_id>/controls/", views.control_list, name="control-list"),
    path("<uuid:run_id>/controls/<str:control>/", views.control_create, name="control-create"),
]
