from django.urls import path

from checkpoints import views

_ONE = "<uuid:run_id>/checkpoints/<int:seq>/"

urlpatterns = [
    path(_ONE, views.checkpoint_detail, name="checkpoint-detail"),
    path(f"{_ONE}values/", views.value_list, name="value-list"),
    path(f"{_ONE}search/", views.value_search, name="value-search"),
    path(f"{_ONE}file/", views.checkpoint_file, name="checkpoint-file"),
    path(f"{_ONE}secrets/", views.secret_create, name="secret-create"),
    path("<uuid:run_id>/compare/", views.comparison_detail, name="comparison-detail"),
    path("<uuid:run_id>/history/", views.key_history_list, name="key-history-list"),
    path("<uuid:run_id>/proof/", views.proof_detail, name="proof-detail"),
]
