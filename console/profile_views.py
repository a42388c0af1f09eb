"""A person's own pages: how they look, and in which time zone."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from approvals.explained_form import ExplainedForm
from approvals.models import Preference
from approvals.services import preferences
from console.models import Profile, Theme
from console.services import profiles


class ProfileForm(ExplainedForm):
    theme = forms.ChoiceField(choices=Theme.choices, required=False, widget=forms.RadioSelect, label="Light or dark")
    zone = forms.CharField(
        max_length=60, label="Time zone", help_text="Such as Europe/Berlin; times are shown in it.",
        widget=forms.TextInput(attrs={"list": "zones"}),
    )  # fmt: skip
    utc = forms.BooleanField(required=False, label="Show all times in UTC")


@login_required
def profile_detail(request: HttpRequest) -> HttpResponse:
    status = 200
    if request.method == "POST":
        form = ProfileForm(request.POST)
        try:
            if form.is_valid():
                profiles.change(request.user, **form.cleaned_data)
                messages.success(request, "Saved.")
                return redirect("profile-detail")
        except preferences.PreferenceInvalid as error:
            form.explain(error)
        status = 422
    else:
        profile, zone = Profile.of(request.user), Preference.of(request.user).zone
        form = ProfileForm(initial={"theme": profile.theme, "utc": profile.utc, "zone": zone})
    context = {"form": form, "zones": sorted(preferences.zones().values())}
    return render(request, "settings/profile.html", context, status=status)


@login_required
@require_POST
def times_create(request: HttpRequest) -> HttpResponse:
    """Show times in UTC, or in one's own zone again; back to where one was."""
    profiles.show_utc(request.user, request.POST.get("utc") == "yes")
    back = request.POST.get("back", "")
    return redirect(back if url_has_allowed_host_and_scheme(back, allowed_hosts=None) else "home")
