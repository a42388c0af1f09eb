from django.urls import path

from demo import mail_views, views

urlpatterns = [
    path("mail/", mail_views.message_list, name="demo-mail-list"),
    path("mail/<str:name>/", mail_views.message_detail, name="demo-mail"),
    path("runs/<uuid:run_id>/worker/", views.worker_detail, name="demo-worker"),
    path("runs/<uuid:run_id>/worker/kill/", views.worker_kill, name="demo-worker-kill"),
]
