"""A gate, at which a run waits for people."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from approvals.models.decision import Decision, Verdict
from approvals.models.people import Delegation, Snooze, stood_in_for
from runs.access import ADMIN, group_names, may, roles
from runs.clock import Now
from runs.models import Branch, Run, new_id

CLAIM_LASTS = timedelta(minutes=15)


class GateStatus(models.TextChoices):
    OPEN = "open"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


class GateKind(models.TextChoices):
    APPROVAL = "approval"
    OUTCOME = "outcome"
    UNDO = "undo"


class Risk(models.IntegerChoices):
    """In the order of the inbox."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


def names_of(user: Any) -> list[str]:
    """The groups, roles among them, by which a policy may name the user."""
    return sorted(group_names(user) | roles(user))


def named(user: Any) -> Q:
    """Gates whose policy names the user. Roles are groups, so they are named the same way."""
    return Q(approver_users__contains=[user.get_username()]) | Q(approver_groups__overlap=names_of(user))


def _passed_on(**whose: Any) -> Exists:
    return Exists(Delegation.objects.filter(gate=OuterRef("pk"), ended_at=None, **whose))


def _used(user: Any) -> Exists:
    """The user's right at the gate is used up."""
    return Exists(Decision.objects.standing().filter(gate=OuterRef("pk"), holder=user))


def _started_by(user: Any) -> Q:
    return Q(allow_self=False, run__starters__contains=[user.pk])


def _given_to(user: Any) -> Exists:
    """Somebody's right was passed on to the user, and may still be used."""
    used = Decision.objects.standing().filter(gate=OuterRef("gate"), holder=OuterRef("holder"))
    started = Q(
        gate__allow_self=False, gate__run__starters__contains=models.Func(F("holder"), template="ARRAY[%(expressions)s]")
    )
    given = Delegation.objects.filter(gate=OuterRef("pk"), receiver=user, ended_at=None)
    return Exists(given.exclude(Exists(used)).exclude(started))


def _place_in(names: Any, name: Any) -> models.Func:
    return models.Func(names, name, function="array_position", output_field=models.IntegerField())


def _approved_elsewhere(user: Any) -> Exists:
    """The user has approved another gate of the run that wants different people."""
    by = Q(by=user) | Q(holder=user)
    agreed = Decision.objects.agreeing().filter(by, gate__run=OuterRef("run"))
    others = agreed.exclude(gate=OuterRef("pk")).exclude(gate__status=GateStatus.WITHDRAWN)
    here = _place_in(OuterRef("distinct_from"), F("gate__key"))
    there = _place_in(F("gate__distinct_from"), OuterRef("key"))
    found = others.alias(here=here, there=there).filter(Q(here__isnull=False) | Q(there__isnull=False))
    return Exists(found)


class GateQuerySet(models.QuerySet["Gate"]):
    def open(self) -> "GateQuerySet":
        return self.filter(status=GateStatus.OPEN)

    def asking(self, user: Any) -> "GateQuerySet":
        """Gates that name the user or somebody whose deputy they are, or that were passed on to them, whatever their status."""
        given = _passed_on(receiver=user)
        found = named(user) | Q(given)
        for other in stood_in_for(user):
            found |= named(other)
        return self.filter(found)

    def visible_to(self, user: Any) -> "GateQuerySet":
        if may(user, "see"):
            return self.all()
        return self.asking(user) if user.is_authenticated else self.none()

    def decidable_by(self, user: Any) -> "GateQuerySet":
        """Open gates at which the user has a right to decide that is not used up: ``rights.standing`` says the same of one."""
        right = (named(user) & ~Q(_passed_on(holder=user)) & ~Q(_used(user))) | Q(_given_to(user))
        for other in stood_in_for(user):
            own = named(other) & ~Q(_passed_on(holder=other)) & ~Q(_used(other)) & ~_started_by(other)
            right |= own | Q(_given_to(other))
        voted = Decision.objects.standing().filter(gate=OuterRef("pk"), by=user)
        barred = _started_by(user) | Q(Exists(voted)) | Q(_approved_elsewhere(user))
        return self.open().filter(right).exclude(barred)

    def awake_for(self, user: Any) -> "GateQuerySet":
        return self.exclude(_snoozed(user))

    def snoozed_by(self, user: Any) -> "GateQuerySet":
        return self.open().filter(_snoozed(user))

    def left_to(self, user: Any) -> "GateQuerySet":
        """Not taken on by somebody else."""
        claimed = Q(claimed_by__isnull=False, claimed_at__gt=Now() - CLAIM_LASTS)
        return self.exclude(claimed & ~Q(claimed_by=user))

    def due(self) -> "GateQuerySet":
        return self.open().filter(due_at__lte=Now())

    def to_remind(self) -> "GateQuerySet":
        return self.open().filter(remind_at__lte=Now())

    def by_time_left(self) -> "GateQuerySet":
        """The inbox's order: time left, then risk."""
        return self.order_by(F("due_at").asc(nulls_last=True), "-risk", "opened_at", "id")

    def for_list(self) -> "GateQuerySet":
        """With all that is read of a gate to show it, in a row or whole."""
        decisions = models.Prefetch("decisions", Decision.objects.select_related("holder"))
        return self.select_related("run__created_by", "branch", "claimed_by").prefetch_related(decisions)


def _snoozed(user: Any) -> Exists:
    return Exists(Snooze.objects.filter(gate=OuterRef("pk"), user=user, until__gt=Now()))


class Gate(models.Model):
    """Holds all that the approver saw. Only ``approvals.services`` writes it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="gates")
    branch = models.ForeignKey(Branch, models.CASCADE, null=True, related_name="gates")  # which alone waits for it
    step = models.CharField(max_length=200)
    visit = models.PositiveIntegerField()
    ordinal = models.PositiveSmallIntegerField(default=0)
    together = models.PositiveSmallIntegerField(default=1)  # how many gates were opened at this boundary
    seq = models.BigIntegerField(default=0)  # of the journal's entry that opened it: its people see the state as of there
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
    distinct_from = ArrayField(models.CharField(max_length=200), default=list)
    quorum = models.PositiveSmallIntegerField(default=1)
    veto = models.PositiveSmallIntegerField(default=1)
    risk = models.PositiveSmallIntegerField(choices=Risk, default=Risk.NORMAL)
    level = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True)
    on_timeout = models.JSONField(default=str)
    reminders = ArrayField(models.DateTimeField(), default=list)  # of this level, still to come
    remind_at = models.DateTimeField(null=True)  # the first of them
    # who is on it
    claimed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="claims")
    claimed_at = models.DateTimeField(null=True)
    acts = models.PositiveIntegerField(default=0)  # of people beside deciding: pages that show the gate look again
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

    objects: ClassVar[models.Manager["Gate"]] = models.Manager.from_queryset(GateQuerySet)()

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
            models.CheckConstraint(
                name="gate_claimed_by_whom_and_when",
                condition=Q(claimed_by__isnull=True) | Q(claimed_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(F("due_at").asc(nulls_last=True), F("risk").desc(), "opened_at", "id", name="gate_due",
                         condition=Q(status=GateStatus.OPEN)),
            models.Index(name="gate_remind", fields=["remind_at"],
                         condition=Q(status=GateStatus.OPEN, remind_at__isnull=False)),
            models.Index(name="gate_newest", fields=["-opened_at", "-id"]),
            models.Index(name="gate_closed", fields=["-final_at"], condition=Q(final_at__isnull=False)),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.title

    @property
    def is_open(self) -> bool:
        return self.status == GateStatus.OPEN

    @property
    def short_id(self) -> str:
        return str(self.id)[-4:]

    def arguments(self) -> list["Argument"]:
        """The action's arguments in the author's order."""
        if self.action is None:
            return []
        args: dict[str, Any] = self.action["args"]
        proposed: dict[str, Any] = self.action.get("proposed", args)
        names = [name for name in self.action.get("order", ()) if name in args]
        names += [name for name in {**args, **proposed} if name not in names]
        known = (self.action.get("schema") or {}).get("properties") or {}
        words = {name: str(one.get("description", "")) for name, one in known.items() if isinstance(one, dict)}
        return [
            Argument(name, args.get(name), proposed.get(name), args.get(name) != proposed.get(name), words.get(name, ""))
            for name in names
        ]

    def approvers_in_words(self) -> str:
        together = isinstance(self.policy.get("quorum"), dict)  # some of each, not any
        return in_words([*self.approver_users, *self.approver_groups], "and" if together else "or")

    @property
    def wants_password(self) -> bool:
        return bool(self.policy.get("reauthenticate"))


class Argument(NamedTuple):
    """One of an action. ``changed``: a person has edited it; ``proposed`` is what the workflow had proposed."""

    name: str
    value: Any
    proposed: Any
    changed: bool
    words: str = ""  # of its field, as the schema has them


def in_words(names: Iterable[str], last: str = "or") -> str:
    names = list(names) or [ADMIN]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
