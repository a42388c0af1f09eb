"""Channels and webhooks: setting them up, trying them, and what was delivered. Admins only."""

import uuid
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from approvals import page_news
from approvals.explained_form import ExplainedForm
from approvals.models import Channel, ChannelKind, Delivery, DeliveryState, Occasion
from approvals.notifying import occasions, trying
from approvals.services import channels
from runs import limiting
from runs.access import may
from runs.clock import database_now
from workflows import registry

SHOWN = 100  # deliveries, the latest
View = Callable[..., HttpResponse]


class ChannelForm(ExplainedForm):
    """What it hears of, and where it goes."""

    name = forms.CharField(max_length=100, help_text="A policy names it by that: notify=[…].")
    kind = forms.ChoiceField(choices=ChannelKind.choices)
    url = forms.CharField(
        max_length=2000, label="Address", widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="https://example.com/hooks, the Slack app’s incoming webhook, or an Apprise address",
    )  # fmt: skip
    secret = forms.CharField(
        required=False, max_length=200, widget=forms.PasswordInput(attrs={"autocomplete": "off"}), label="Signing secret",
        help_text="Of the Slack app. A webhook’s is made here and shown once.",
    )  # fmt: skip
    events = forms.MultipleChoiceField(
        choices=[(one.value, f"{one.label} ({one.value})") for one in Occasion.real()],
        widget=forms.CheckboxSelectMultiple, label="Hears of",
        initial=[str(one) for one in (Occasion.OPENED, Occasion.ESCALATED, Occasion.EXPIRED, Occasion.FAILED)],
    )  # fmt: skip
    workflows = forms.MultipleChoiceField(
        required=False, widget=forms.CheckboxSelectMultiple, label="Of these workflows", help_text="None ticked: of all."
    )  # fmt: skip
    only_named = forms.BooleanField(required=False, label="Only of gates whose policy names it")

    def __init__(self, *args: Any, channel: Channel | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        names = {one.name for one in registry.all_newest()} | set(channel.workflows if channel else ())
        self.fields["workflows"].choices = [(name, name) for name in sorted(names)]  # type: ignore[attr-defined]
        if channel is not None:
            for name in ("name", "kind", *(() if channel.kind == ChannelKind.SLACK else ("secret",))):
                del self.fields[name]
            self.fields["url"].required = False
            self.fields["url"].label, self.fields["url"].help_text = "New address", f"Left empty: as it is, {channel.shown}"


def admins_only(view: View) -> View:
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        if not may(request.user, "administer"):
            raise PermissionDenied("Channels are for admins.")
        return view(request, *args, **options)

    return login_required(checked)


@admins_only
def channel_list(request: HttpRequest) -> HttpResponse:
    form, status = ChannelForm(), 200
    if request.method == "POST":
        form = ChannelForm(request.POST)
        made = _tried(form, lambda: channels.create(by=request.user, **form.cleaned_data))
        if made is not None:
            secret = channels.opened(made)["secrets"] if made.kind == ChannelKind.WEBHOOK else [""]
            page_news.put(request, fresh=secret[0], made=True)
            return redirect("channel-detail", made.pk)
        status = 422
    return render(request, "settings/channels.html", {"channels": Channel.objects.all(), "form": form}, status=status)


@admins_only
def channel_detail(request: HttpRequest, channel_id: int) -> HttpResponse:
    channel = get_object_or_404(Channel, pk=channel_id)
    if request.method != "POST":
        return _detail(request, channel)
    form = ChannelForm(request.POST, channel=channel)
    if _tried(form, lambda: channels.change(channel.pk, by=request.user, **form.cleaned_data)) is None:
        return _detail(request, channel, form=form, status=422)
    messages.success(request, "Saved.")
    return redirect("channel-detail", channel.pk)


@admins_only
def channel_act(request: HttpRequest, channel_id: int, act: str) -> HttpResponse:
    """Try it, rotate or retire a secret, switch it on or off, delete it. Whoever comes here by a GET sees the channel."""
    channel = get_object_or_404(Channel, pk=channel_id)
    if request.method != "POST":
        return redirect("channel-detail", channel.pk)
    if act == "test":
        _test(request, channel)
    elif act == "rotate" and channel.kind == ChannelKind.WEBHOOK:
        page_news.put(request, fresh=channels.rotate_secret(channel.pk, by=request.user))
    elif act == "retire" and channel.kind == ChannelKind.WEBHOOK:
        channels.retire_secret(channel.pk, by=request.user)
        messages.success(request, "The old secret signs no more.")
    elif act in ("on", "off"):
        channels.switch(channel.pk, by=request.user, on=act == "on")
        messages.success(request, f"Switched {act}.")
    elif act == "delete":
        channels.delete(channel.pk, by=request.user)
        messages.success(request, f"Deleted: {channel.name}.")
        return redirect("channel-list")
    else:
        raise Http404
    return redirect("channel-detail", channel.pk)


def _test(request: HttpRequest, channel: Channel) -> None:
    if limiting.allows(limiting.TESTS, request.user.get_username()):
        page_news.put(request, story=asdict(trying.of_channel(channel)))
    else:
        messages.error(request, "Too many tests in this minute.")


@admins_only
@require_POST
def redeliver(request: HttpRequest, delivery_id: uuid.UUID) -> HttpResponse:
    delivery = get_object_or_404(Delivery, pk=delivery_id, channel__isnull=False)
    channels.redeliver(delivery.pk, by=request.user)
    messages.success(request, "Sent again in a moment, with the same id.")
    return redirect(f"{reverse('channel-detail', args=[delivery.channel_id])}#delivery-{delivery.pk}")


def _tried(form: ChannelForm, act: Callable[[], Channel]) -> Channel | None:
    """What the service made; None where the form now says what was expected."""
    if not form.is_valid():
        return None
    try:
        return act()
    except channels.ChannelInvalid as error:
        form.explain(error)
        return None


def _detail(
    request: HttpRequest, channel: Channel, *, form: ChannelForm | None = None, status: int = 200
) -> HttpResponse:  # fmt: skip
    initial = {name: getattr(channel, name) for name in ("events", "workflows", "only_named")}
    context = {
        "channel": channel,
        "form": form or ChannelForm(initial=initial, channel=channel),
        "secrets": len(channels.opened(channel)["secrets"]),
        "endpoint": occasions.address("slack-create", channel.pk) if channel.kind == ChannelKind.SLACK else "",
        "deliveries": channel.deliveries.prefetch_related("log").select_related("run", "gate").order_by("-created_at")[:SHOWN],
        "waiting": channel.deliveries.filter(state=DeliveryState.WAITING).count(),
        "rests": channel.rests_until is not None and channel.rests_until > database_now(),
        **page_news.take(request),
    }
    return render(request, "settings/channel.html", context, status=status)
