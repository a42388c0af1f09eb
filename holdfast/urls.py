"""All addresses, and the sockets'."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from approvals.consumers import GateTail
from console.consumers import RunPageTail
from holdfast import signing_in, token_views, views
from holdfast.api import api
from runs import audit_views
from runs.consumers import RunListTail

urlpatterns = [
    path("sign-in/", signing_in.SignIn.as_view(), name="sign-in"),
    path("sign-out/", signing_in.SignOut.as_view(), name="sign-out"),
    # one door each: Django's own pages for these would leave no act
    path("admin/login/", signing_in.admin_sign_in),
    path("admin/logout/", signing_in.SignOut.as_view()),
    path("admin/password_change/", signing_in.PasswordChange.as_view(), name="password-change"),
    path("", include("console.urls")),
    path("", include("engine.urls")),
    path("runs/", include("runs.urls")),
    path("settings/tokens/", token_views.token_list, name="token-list"),
    path("settings/tokens/<int:token_id>/delete/", token_views.token_delete, name="token-delete"),
    path("audit/", audit_views.audit_list, name="audit-list"),
    path("runs/", include("checkpoints.urls")),
    *([path("demo/", include("demo.urls"))] if settings.HOLDFAST_DEMO else []),
    path("gates/", include("approvals.urls")),
    path("", include("approvals.reach_urls")),
    path("favicon.ico", RedirectView.as_view(url="/static/icon.svg")),
    path("design/", views.design, name="design"),
    path("admin/", admin.site.urls),
    path("api/", api.urls),
    path("healthz", views.healthz),
    path("readyz", views.readyz),
    path("metrics", views.metrics_list),
]

websocket_urlpatterns = [
    path("ws/runs/<uuid:run_id>/", RunPageTail.as_asgi()),
    path("ws/runs/", RunListTail.as_asgi()),
    path("ws/gates/", GateTail.as_asgi()),
]

handler403 = "holdfast.views.forbidden"
handler404 = "holdfast.views.not_found"
handler500 = "holdfast.views.server_error"
