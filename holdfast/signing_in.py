"""Signing in and out: each is an act of the audit, and guessing is slowed down."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse

from runs import doors, limiting
from runs.models import Act
from runs.services import audit


class SignIn(LoginView):
    template_name = "sign_in.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if limiting.is_spent(limiting.SIGN_INS, *_who(request)):
            return self.render_to_response(self.get_context_data(too_many=True), status=429)
        return super().post(request, *args, **options)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        doors.came(user, doors.PAGE, doors.address_of(self.request))
        audit.record(user, Act.SIGNED_IN)
        return super().form_valid(form)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        address, name = _who(self.request)
        limiting.allows(limiting.SIGN_INS, address, name)
        stranger = doors.Stranger(name)
        doors.came(stranger, doors.PAGE, address)
        audit.record(stranger, Act.SIGN_IN_REFUSED, subject=name)
        return super().form_invalid(form)


def _who(request: HttpRequest) -> tuple[str, str]:
    """From where, and under which name."""
    return doors.address_of(request), request.POST.get("username", "")[:150].replace("\0", "")


class SignOut(LogoutView):
    def post(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if request.user.is_authenticated:
            audit.record(request.user, Act.SIGNED_OUT)
        return super().post(request, *args, **options)
