"""Signing in and out: each is an act of the audit, and guessing is slowed down."""

import unicodedata
from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse, reverse_lazy

from runs import doors, limiting
from runs.models import Act
from runs.services import audit

UNKNOWN = "nobody’s name"


def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """Who is signed in and comes here is no staff, and would be sent back for ever."""
    if request.user.is_authenticated:
        raise PermissionDenied("Django’s admin is for staff.")
    return redirect(f"{reverse('sign-in')}?{request.GET.urlencode()}")


class SignIn(LoginView):
    template_name = "sign_in.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        address, name = _who(request)
        if limiting.is_spent(limiting.SIGN_INS, address, name) or limiting.is_spent(limiting.SIGN_INS_FROM, address):
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
        limiting.allows(limiting.SIGN_INS_FROM, address)
        known = User.objects.filter(username__iexact=name).values_list("username", flat=True).first()
        stranger = doors.Stranger(known or UNKNOWN)  # what was typed may have been a password
        doors.came(stranger, doors.PAGE, address)
        audit.record(stranger, Act.SIGN_IN_REFUSED, subject=known or UNKNOWN)
        return super().form_invalid(form)


class PasswordChange(PasswordChangeView):
    template_name = "password_change.html"
    success_url = reverse_lazy("preference-detail")

    def form_valid(self, form: Any) -> HttpResponse:
        audit.record(self.request.user, Act.PASSWORD_CHANGED)
        return super().form_valid(form)


def _who(request: HttpRequest) -> tuple[str, str]:
    """From where, and under which name."""
    name = unicodedata.normalize("NFKC", request.POST.get("username", "")).replace("\0", "").strip()
    return doors.address_of(request), name[:150].casefold()


class SignOut(LogoutView):
    def post(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if request.user.is_authenticated:
            audit.record(request.user, Act.SIGNED_OUT)
        return super().post(request, *args, **options)
