from django.urls import path

from approvals import batch_views, people_views, views, watching_views

urlpatterns = [
    path("", views.gate_list, name="gate-list"),
    path("mine/", watching_views.mine_list, name="mine-list"),
    path("batch/", batch_views.batch, name="batch"),
    path("batch/undo/", batch_views.batch_undo, name="batch-undo"),
    path("absences/", people_views.absence_list, name="absence-list"),
    path("absences/<int:absence_id>/end/", people_views.absence_delete, name="absence-delete"),
    path("<uuid:gate_id>/", views.gate_detail, name="gate-detail"),
    path("<uuid:gate_id>/decisions/", views.decision_create, name="decision-create"),
    path("<uuid:gate_id>/decisions/<int:decision_id>/undo/", views.decision_undo, name="decision-undo"),
    path("<uuid:gate_id>/edits/", views.edit_preview, name="edit-preview"),
    path("<uuid:gate_id>/bypass/", views.bypass_create, name="bypass-create"),
    path("<uuid:gate_id>/presence/", watching_views.presence_create, name="presence-create"),
    path("<uuid:gate_id>/following/", watching_views.following_detail, name="following-detail"),
    path("<uuid:gate_id>/claim/", people_views.claim_create, name="claim-create"),
    path("<uuid:gate_id>/claim/end/", people_views.claim_delete, name="claim-delete"),
    path("<uuid:gate_id>/delegation/", people_views.delegation_create, name="delegation-create"),
    path("<uuid:gate_id>/delegation/end/", people_views.delegation_delete, name="delegation-delete"),
    path("<uuid:gate_id>/snooze/", people_views.snooze_create, name="snooze-create"),
    path("<uuid:gate_id>/snooze/end/", people_views.snooze_delete, name="snooze-delete"),
    path("<uuid:gate_id>/comments/", people_views.comment_create, name="comment-create"),
]
