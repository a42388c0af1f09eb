"""A gate, at which a run waits for people, and the decisions made at it."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.access import ADMIN, group_names, may, roles
from runs.clock import Now
from runs.models import Branch, Run, new_id


class GateStatus(models.TextChoices):
    OPEN = "open"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


class GateKind(models.TextChoices):
    APPROVAL = "approval"
    OUTCOME = "outcome"
    UNDO = "undo"


class Verdict(models.TextChoices):
    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    RESPOND = "respond"
    HAPPENED = "happened"
    NOT_HAPPENED = "not_happened"
    RETRY = "retry"
    DONE_BY_HAND = "done_by_hand"
    FAIL = "fail"


def named(user: Any) -> Q:
    """Gates whose policy names the user. Roles are groups, so they are named the same way."""
    groups = sorted(group_names(user) | roles(user))
    return Q(approver_users__contains=[user.get_username()]) | Q(approver_groups__overlap=groups)


class GateQuerySet(models.QuerySet["Gate"]):
    def open(self) -> "GateQuerySet":
        return self.filter(status=GateStatus.OPEN)

    def visible_to(self, user: Any) -> "GateQuerySet":
        if may(user, "see"):
            return self.all()
        return self.filter(named(user)) if user.is_authenticated else self.none()

    def decidable_by(self, user: Any) -> "GateQuerySet":
        """Open gates that name the user, whose own run it is not where that matters, and who has not voted yet."""
        voted = Decision.objects.filter(gate=models.OuterRef("pk"), by=user, voided_at=None)
        return (
            self.open()
            .filter(named(user))
            .exclude(allow_self=False, run__starters__contains=[user.pk])
            .exclude(models.Exists(voted))
        )

    def due(self) -> "GateQuerySet":
        return self.open().filter(due_at__lte=Now())

    def for_list(self) -> "GateQuerySet":
        return self.select_related("run", "run__created_by", "branch").order_by(models.F("due_at").asc(nulls_last=True), "id")


class Gate(models.Model):
    """Holds all that the approver saw. Only ``approvals.services`` writes it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="gates")
    branch = models.ForeignKey(Branch, models.CASCADE, null=True, related_name="gates")  # which alone waits for it
    step = models.CharField(max_length=200)
    visit = models.PositiveIntegerField()
    ordinal = models.PositiveSmallIntegerField(default=0)
    together = models.PositiveSmallIntegerField(default=1)  # how many gates were opened at this boundary
    key = models.CharField(max_length=200)  # the name under which the decision is read
    kind = models.CharField(max_length=10, choices=GateKind, default=GateKind.APPROVAL)
    status = models.CharField(max_length=10, choices=GateStatus, default=GateStatus.OPEN)
    # what the workflow wrote
    title = models.CharField(max_length=300)
    summary = models.TextField(default="", blank=True)
    # what Holdfast knows
    action = models.JSONField(null=True)
    context = models.JSONField(default=dict)
    verdicts = ArrayField(models.CharField(max_length=20))
    version = models.PositiveIntegerField(default=1)
    proposal_hash = models.CharField(max_length=64)
    # who, by when
    policy = models.JSONField()
    approver_users = ArrayField(models.CharField(max_length=150), default=list)
    approver_groups = ArrayField(models.CharField(max_length=150), default=list)
    allow_self = models.BooleanField(default=True)
    quorum = models.PositiveSmallIntegerField(default=1)
    level = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True)
    on_timeout = models.JSONField(default=str)
    # what follows
    on_reject = models.CharField(max_length=200, default="end")
    on_respond = models.CharField(max_length=200, default="", blank=True)
    goto = models.CharField(max_length=200, default="", blank=True)
    # In a fork: the gate that was decided.
    carried_from = models.ForeignKey("self", models.SET_NULL, null=True, related_name="+")
    merges = models.BooleanField(default=True)  # approved fields are set in the state; an Ask merges nothing
    outcome_verdict = models.CharField(max_length=20, choices=Verdict, default="", blank=True)
    outcome_by = models.CharField(max_length=200, default="", blank=True)
    opened_at = models.DateTimeField(db_default=Now())
    final_at = models.DateTimeField(null=True)

    objects = GateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="gate_one_open",
                fields=["run", "branch", "step", "visit", "ordinal"],
                condition=Q(status=GateStatus.OPEN),
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                name="gate_final_at_when_closed",
                condition=Q(status=GateStatus.OPEN, final_at__isnull=True)
                | Q(status__in=[GateStatus.DECIDED, GateStatus.WITHDRAWN], final_at__isnull=False),
            ),
            models.CheckConstraint(
                name="gate_outcome_when_decided",
                condition=Q(status=GateStatus.DECIDED, outcome_verdict__gt="")
                | Q(~Q(status=GateStatus.DECIDED), outcome_verdict=""),
            ),
        ]
        indexes = [
            models.Index(name="gate_due", fields=["due_at"], condition=Q(status=GateStatus.OPEN)),
            models.Index(name="gate_newest", fields=["-opened_at", "-id"]),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_open(self) -> bool:
        return self.status == GateStatus.OPEN

    @property
    def short_id(self) -> str:
        return str(self.id)[-4:]

    def why_not(self, user: Any) -> str:
        """Why ``user`` may not decide this gate, in words; empty when they may."""
        username = user.get_username()
        named_here = username in self.approver_users or (group_names(user) | roles(user)) & set(self.approver_groups)
        if not named_here:
            return f"This gate asks {self.approvers_in_words()}; you are not one of them."
        if not self.allow_self and user.pk in self.run.starters:
            what = "this run" if self.run.created_by_id == user.pk else "the run that this one was forked from"
            return f"You started {what}, and its policy wants somebody else to decide."
        return ""

    def arguments(self) -> list[tuple[str, Any, Any]]:
        """The action's arguments in the author's order: name, value, and what was proposed where a person changed it."""
        if self.action is None:
            return []
        args: dict[str, Any] = self.action["args"]
        proposed: dict[str, Any] = self.action.get("proposed", args)
        names = [name for name in self.action.get("order", ()) if name in args]
        names += [name for name in args if name not in names]
        return [(name, args[name], proposed.get(name) if proposed.get(name) != args[name] else None) for name in names]

    def approvers_in_words(self) -> str:
        return in_words([*self.approver_users, *self.approver_groups])


def in_words(names: Iterable[str]) -> str:
    names = list(names) or [ADMIN]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


class Decision(models.Model):
    """One person's (or the policy's) answer. Never changed, but for being voided."""

    id = models.BigAutoField(primary_key=True)
    gate = models.ForeignKey(Gate, models.CASCADE, related_name="decisions")
    verdict = models.CharField(max_length=20, choices=Verdict)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="decisions")
    by_name = models.CharField(max_length=150)
    channel = models.CharField(max_length=20)  # page, api, policy
    comment = models.TextField(default="", blank=True)
    args = models.JSONField(null=True)
    version = models.PositiveIntegerField()
    proposal_hash = models.CharField(max_length=64)
    at = models.DateTimeField(db_default=Now())
    voided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="decision_once", fields=["gate", "by"], condition=Q(voided_at=None)),
        ]
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.verdict} by {self.by_name}"
