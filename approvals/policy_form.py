"""The form in which an admin sets a policy. Plain text where a list is meant: one a line, or with commas."""

from collections.abc import Mapping
from typing import Any

from django import forms

from workflows.hours import DAYS
from workflows.policy import RISKS, TIMEOUTS, WORDED

# what a policy's error begins with, and the field that it is about
ABOUT = {
    "approver": "approvers",
    "quorum of": "quorum_by_group",
    "quorum names": "quorum_by_group",
    "escalate": "escalations",
    "hours": "zone",
    **{
        name: name
        for name in (
            "quorum",
            "veto",
            "comment",
            "risk",
            "timeout",
            "notify",
            "links",
            "zone",
            "days",
            "start",
            "end",
            "holidays",
        )
    },
}
UNITS = (("d", 86400), ("h", 3600), ("m", 60))
YES_NO = [("", "at high risk"), ("yes", "always"), ("no", "never")]


class PolicyForm(forms.Form):
    approvers = forms.CharField(
        required=False, help_text="user:bob, group:finance, role:admin. Left empty: those of the workflow."
    )  # fmt: skip
    quorum = forms.IntegerField(min_value=1, initial=1, help_text="So many different people must approve.")
    quorum_by_group = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), help_text="Instead so many of each, one a line: group:legal 1"
    )  # fmt: skip
    veto = forms.IntegerField(min_value=1, initial=1, label="Rejections that end it")
    allow_self = forms.BooleanField(required=False, label="Whoever started the run may decide")
    distinct_from = forms.CharField(required=False, help_text="Gates whose approvers may not approve this one too: manager, …")
    comment = forms.MultipleChoiceField(
        choices=[(name, name) for name in WORDED], required=False, widget=forms.CheckboxSelectMultiple, label="Wants words to"
    )  # fmt: skip
    risk = forms.ChoiceField(choices=[(name, name) for name in RISKS])
    reauthenticate = forms.ChoiceField(choices=YES_NO, required=False, label="The password is asked for again")
    allow_bypass = forms.BooleanField(required=False, label="Admins may pass it by, with a reason")
    timeout = forms.CharField(required=False, help_text="30m, 24h, 7d. Left empty: it waits until somebody decides.")
    escalations = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 2}), help_text="After that, one a line: “4h group:finance-leads”."
    )  # fmt: skip
    on_timeout = forms.ChoiceField(choices=[(name, name) for name in TIMEOUTS], label="When all that time is over")
    remind = forms.CharField(required=False, help_text="So long before each deadline: 1h, 30m.")
    zone = forms.CharField(
        required=False, label="Working hours: time zone", help_text="Europe/Berlin. Left empty: the clock runs day and night."
    )  # fmt: skip
    days = forms.MultipleChoiceField(
        choices=[(day, day) for day in DAYS], required=False, widget=forms.CheckboxSelectMultiple, label="Working days"
    )  # fmt: skip
    start = forms.CharField(required=False, initial="09:00", label="From")
    end = forms.CharField(required=False, initial="17:00", label="To")
    holidays = forms.CharField(required=False, help_text="Holidays of that country are no working days: DE, DE-BY, US-CA.")
    notify = forms.CharField(
        required=False, help_text="Channels that hear of it beside those that hear of everything: finance-chat, …"
    )
    links = forms.ChoiceField(
        choices=[("signed_in", "signed in, as the addressee"), ("bearer", "whoever has it, in the addressee’s name")],
        label="A link in a message decides for",
    )
    reason = forms.CharField(help_text="Why it is changed; the history keeps it.", max_length=2000)

    def clean(self) -> dict[str, Any]:
        """What belongs together; what each field must be is the policy's own to say."""
        given = super().clean() or {}
        zone = (given.get("zone") or "").strip()
        if not zone and ((given.get("holidays") or "").strip() or given.get("days")):
            self.add_error("zone", "working days and holidays need a time zone, such as Europe/Berlin")
        if zone and not given.get("days"):
            self.add_error("days", "tick the working days")
        return given

    def explain(self, text: str) -> None:
        """Put the policy's own error at the field that it is about."""
        about = next((name for name in ABOUT if text.startswith(name) or f"{name}=" in text), None)
        self.add_error(ABOUT[about] if about else None, text)

    def policy(self) -> dict[str, Any]:
        """As ``Policy.from_json`` takes it, which checks it."""
        given = self.cleaned_data
        return {
            "approvers": _names(given["approvers"]) or None,
            "quorum": _by_group(given["quorum_by_group"]) or given["quorum"],
            "veto": given["veto"],
            "allow_self": given["allow_self"],
            "distinct_from": _names(given["distinct_from"]),
            "comment": given["comment"],
            "risk": given["risk"],
            "reauthenticate": {"yes": True, "no": False}.get(given["reauthenticate"]),
            "allow_bypass": given["allow_bypass"],
            "timeout": given["timeout"].strip() or None,
            "on_timeout": _chain(given["escalations"], given["on_timeout"]),
            "remind": _names(given["remind"]),
            "notify": _names(given["notify"]),
            "links": given["links"],
            "hours": _hours(given) if given["zone"].strip() else None,
        }


def initial(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values for a policy."""
    quorum, hours, levels, choice = policy["quorum"], policy.get("hours") or {}, [], policy["on_timeout"]
    while isinstance(choice, Mapping):
        levels.append(f"{_spelled(choice['timeout'])} {', '.join(choice['escalate'])}")
        choice = choice["then"]
    by_group = isinstance(quorum, Mapping)
    automatic = policy.get("reauthenticate") == (policy.get("risk") == "high")
    return {
        **{name: policy.get(name) for name in ("veto", "allow_self", "comment", "risk", "allow_bypass")},
        "approvers": ", ".join(policy["approvers"] or ()),
        "quorum": 1 if by_group else quorum,
        "quorum_by_group": "\n".join(f"{name} {count}" for name, count in quorum.items()) if by_group else "",
        "distinct_from": ", ".join(policy.get("distinct_from", ())),
        "notify": ", ".join(policy.get("notify", ())),
        "links": policy.get("links", "signed_in"),
        "reauthenticate": "" if automatic else "yes" if policy.get("reauthenticate") else "no",
        "timeout": "" if policy["timeout"] is None else _spelled(policy["timeout"]),
        "escalations": "\n".join(levels),
        "on_timeout": choice,
        "remind": ", ".join(_spelled(before) for before in policy.get("remind", ())),
        **{name: hours.get(name, "") for name in ("zone", "days", "holidays")},
        "start": hours.get("start", "09:00"),
        "end": hours.get("end", "17:00"),
    }


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.replace("\n", ",").split(",") if name.strip()]


def _by_group(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in filter(str.strip, text.splitlines()):
        name, _, count = line.strip().rpartition(" ")
        found[name.strip()] = int(count) if count.isascii() and count.isdigit() and len(count) < 7 else count
    return found


def _chain(lines: str, last: str) -> Any:
    choice: Any = last
    for line in reversed([line.strip() for line in lines.splitlines() if line.strip()]):
        timeout, _, names = line.partition(" ")
        choice = {"escalate": _names(names), "timeout": timeout, "then": choice}
    return choice


def _hours(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"zone": given["zone"].strip(), "days": given["days"], "start": given["start"], "end": given["end"],
            "holidays": given["holidays"].strip()}  # fmt: skip


def _spelled(seconds: float) -> str:
    """In the largest unit of which it is a whole number: ``86400`` → ``1d``, ``4200`` → ``70m``."""
    unit, size = next(((unit, size) for unit, size in UNITS if seconds and seconds % size == 0), ("s", 1))
    return f"{seconds / size:g}{unit}"
