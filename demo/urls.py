from django.urls import path

from demo import views

urlpatterns = [
    path("runs/<uuid:run_id>/worker/", views.worker_detail, name="demo-worker"),
    path("runs/<uuid:run_id>/worker/kill/", views.worker_kill, name="demo-worker-kill"),
]
