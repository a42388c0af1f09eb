"""A person's own settings: how they are reached, the links that were sent to them, and their chat accounts."""

import uuid
from dataclasses import asdict
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from approvals import page_news
from approvals.explained_form import ExplainedForm
from approvals.models import Link, Occasion, Pace, Preference
from approvals.notifying import trying
from approvals.services import links, preferences
from runs import limiting
from runs.access import may
from workflows import registry

SAID = {
    Occasion.OPENED: "you are asked to decide",
    Occasion.REMINDED: "a gate still waits for you",
    Occasion.ESCALATED: "a gate is escalated to you",
    Occasion.DELEGATED: "somebody passes a gate on to you",
    Occasion.MENTIONED: "somebody mentions you",
    Occasion.DECIDED: "others have decided what you were asked",
    Occasion.EXPIRED: "nobody decided in time",
    Occasion.WITHDRAWN: "nobody is asked any more",
    Occasion.FAILED: "a run of yours fails",
    Occasion.STUCK: "a run of yours is stuck",
    Occasion.ROLLED_BACK: "a run of yours was rolled back",
}


class PreferenceForm(ExplainedForm):
    email = forms.ChoiceField(choices=Pace.choices, label="E-mail")
    events = forms.MultipleChoiceField(
        choices=[(one.value, text) for one, text in SAID.items()], required=False, widget=forms.CheckboxSelectMultiple,
        label="Tell me when",
    )  # fmt: skip
    all_runs = forms.BooleanField(required=False, label="Of runs that others have started, too (operators)")
    digest_at = forms.TimeField(widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"), label="Once a day, at")
    quiet_from = forms.TimeField(
        required=False, widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"), label="Quiet from",
        help_text="In quiet hours only what is due before they end is sent.",
    )  # fmt: skip
    quiet_to = forms.TimeField(
        required=False, widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M"), label="Quiet until"
    )
    zone = forms.CharField(
        max_length=60, label="Time zone", help_text="Such as Europe/Berlin; the times above are meant in it.",
        widget=forms.TextInput(attrs={"list": "zones"}),
    )  # fmt: skip
    browser = forms.BooleanField(
        required=False, label="Notifications of this browser, while a page of Holdfast is open",
        widget=forms.CheckboxInput(attrs={"data-notifies": ""}),
    )  # fmt: skip

    def __init__(self, *args: Any, workflows: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.names = {f"workflow-{number}": name for number, name in enumerate(workflows)}
        choices = [("", "as above"), *Pace.choices]
        for field, name in self.names.items():
            self.fields[field] = forms.ChoiceField(choices=choices, required=False, label=name)

    def given(self) -> dict[str, Any]:
        """As ``preferences.change`` takes it."""
        plain = {name: value for name, value in self.cleaned_data.items() if name not in self.names}
        return {**plain, "by_workflow": {name: self.cleaned_data[field] for field, name in self.names.items()}}

    @property
    def of_workflows(self) -> list[Any]:
        return [self[field] for field in self.names]

    @property
    def of_all(self) -> list[Any]:
        return [self[name] for name in self.fields if name not in self.names]


@login_required
def preference_detail(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _page(request)
    form = PreferenceForm(request.POST, workflows=_workflows())
    try:
        if form.is_valid():
            preferences.change(request.user, form.given())
            messages.success(request, "Saved.")
            return redirect("preference-detail")
    except preferences.PreferenceInvalid as error:
        form.explain(error)
    return _page(request, status=422, form=form)


@login_required
def preference_test(request: HttpRequest) -> HttpResponse:
    """Send oneself an e-mail."""
    if request.method != "POST":
        return redirect("preference-detail")
    if limiting.allows(limiting.TESTS, request.user.get_username()):
        page_news.put(request, story=asdict(trying.of_mail(request.user)))
    else:
        messages.error(request, "Too many tests in this minute.")
    return redirect("preference-detail")


@login_required
@require_POST
def link_revoke(request: HttpRequest, link_id: uuid.UUID) -> HttpResponse:
    mine = Link.objects.all() if may(request.user, "administer") else Link.objects.filter(user=request.user.pk)
    link = get_object_or_404(mine, pk=link_id)
    links.revoke(link, by=request.user)
    messages.success(request, f"Revoked: the link of {link.user} to “{link.gate.title}”.")
    return redirect("preference-detail") if link.user_id == request.user.pk else redirect("gate-detail", link.gate_id)


def _page(request: HttpRequest, *, status: int = 200, form: PreferenceForm | None = None) -> HttpResponse:
    context = {
        "form": form or _saved(request.user),
        "links": links.live_of(request.user)[:100],
        "accounts": request.user.chat_accounts.order_by("name"),  # type: ignore[union-attr] # signed in
        "sends_mail": settings.HOLDFAST_SENDS_MAIL,
        "administers": may(request.user, "administer"),
        "zones": sorted(preferences.zones().values()),
        **page_news.take(request),
    }
    return render(request, "settings/preferences.html", context, status=status)


def _saved(user: Any) -> PreferenceForm:
    preference = Preference.of(user)
    form = PreferenceForm(
        initial={name: getattr(preference, name) for name in PreferenceForm.base_fields}, workflows=_workflows()
    )
    form.initial.update({field: preference.by_workflow.get(name, "") for field, name in form.names.items()})
    return form


def _workflows() -> list[str]:
    return sorted(one.name for one in registry.all_newest())
