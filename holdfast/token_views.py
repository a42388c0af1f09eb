"""A person's API tokens; admins see everybody's."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from approvals import page_news
from approvals.explained_form import ExplainedForm
from holdfast import tokens
from holdfast.models import ApiToken, Scope
from runs.access import may


class TokenForm(ExplainedForm):
    name = forms.CharField(max_length=tokens.NAME, label="What it is for")
    scope = forms.ChoiceField(choices=Scope.choices, initial=Scope.READ, label="It may")
    days = forms.IntegerField(required=False, initial=90, label="Expires in, days", help_text="Left empty: never.")


@login_required
def token_list(request: HttpRequest) -> HttpResponse:
    form, status = TokenForm(), 200
    if request.method == "POST":
        form, status = TokenForm(request.POST), 422
        try:
            if form.is_valid():
                made = tokens.make(request.user, by=request.user, **form.cleaned_data)
                page_news.put(request, secret={"name": form.cleaned_data["name"], "token": made})
                return redirect("token-list")
        except tokens.TokenInvalid as error:
            form.explain(error)
    rows = ApiToken.objects.select_related("user").order_by("user__username", "-created_at")
    administers = may(request.user, "administer")
    shown = rows if administers else rows.filter(user=request.user.pk)
    context = {"form": form, "tokens": shown[:500], "administers": administers, **page_news.take(request)}
    return render(request, "settings/tokens.html", context, status=status)


@login_required
@require_POST
def token_delete(request: HttpRequest, token_id: int) -> HttpResponse:
    rows = ApiToken.objects.select_related("user")
    token = get_object_or_404(rows if may(request.user, "administer") else rows.filter(user=request.user.pk), pk=token_id)
    tokens.revoke(token, by=request.user)
    messages.success(request, f"Revoked: {token}, of {token.user}.")
    return redirect("token-list")
