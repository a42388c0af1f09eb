from django.urls import path

from checkpoints import views

urlpatterns = [path("<uuid:run_id>/checkpoints/<int:seq>/", views.checkpoint_detail, name="checkpoint-detail")]
