from django.urls import path

from engine import control_views, fork_views, views

urlpatterns = [
    path("runs/new/<str:name>/", views.run_create, name="run-create"),
    path("runs/<uuid:run_id>/controls/", control_views.control_list, name="control-list"),
    path("runs/<uuid:run_id>/controls/<str:control>/", control_views.control_create, name="control-create"),
    path("runs/<uuid:run_id>/signals/", control_views.signal_create, name="signal-create"),
    path("runs/<uuid:run_id>/notes/", control_views.note_create, name="note-create"),
    path("runs/<uuid:run_id>/fork/", fork_views.fork_create, name="fork-create"),
    path("runs/<uuid:run_id>/changes/", views.change_create, name="change-create"),
]
