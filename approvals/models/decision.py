"""One answer at a gate."""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.clock import Now


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


AGREED = (Verdict.APPROVE, Verdict.EDIT)
ANY = "*"  # a vote that counts for whichever group is short of one


class DecisionQuerySet(models.QuerySet["Decision"]):
    def standing(self) -> "DecisionQuerySet":
        """Those that count: neither voided by an edit nor taken back."""
        return self.filter(voided_at=None)

    def agreeing(self) -> "DecisionQuerySet":
        """Those that stand and approve, edited or not."""
        return self.standing().filter(verdict__in=AGREED)


class Decision(models.Model):
    """One person's (or the policy's) answer. Never changed, but for being voided.

    ``holder`` is whose right was used: the person's own, or that of whoever delegated it or is away.
    """

    id = models.BigAutoField(primary_key=True)
    gate = models.ForeignKey("approvals.Gate", models.CASCADE, related_name="decisions")
    verdict = models.CharField(max_length=20, choices=Verdict)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="decisions")
    by_name = models.CharField(max_length=150)
    holder = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    groups = ArrayField(models.CharField(max_length=150), default=list)  # for which of the quorum's groups it counts, or ANY
    bypass = models.BooleanField(default=False)  # an admin decided alone, past the policy
    channel = models.CharField(max_length=20)  # page, api, policy
    comment = models.TextField(default="", blank=True)
    args = models.JSONField(null=True)
    replaced = models.JSONField(null=True)  # the arguments that an edit has changed
    version = models.PositiveIntegerField()
    proposal_hash = models.CharField(max_length=64)
    at = models.DateTimeField(db_default=Now())
    looked_for_s = models.FloatField(null=True)  # seconds from when its page was shown; NULL: nobody knows
    voided_at = models.DateTimeField(null=True)
    voided_by = models.ForeignKey("self", models.SET_NULL, null=True, related_name="+")  # the edit that did

    objects: ClassVar[models.Manager["Decision"]] = models.Manager.from_queryset(DecisionQuerySet)()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="decision_once", fields=["gate", "by"], condition=Q(voided_at=None)),
            models.UniqueConstraint(name="decision_once_per_right", fields=["gate", "holder"], condition=Q(voided_at=None)),
        ]
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.verdict} by {self.by_name}"

    @property
    def stands(self) -> bool:
        return self.voided_at is None

    @property
    def agrees(self) -> bool:
        return self.stands and self.verdict in AGREED

    @property
    def rejects(self) -> bool:
        return self.stands and self.verdict == Verdict.REJECT

    @property
    def acts_for(self) -> str:
        """In whose place it was made; empty where in the decider's own."""
        return "" if self.holder is None or self.holder_id == self.by_id else self.holder.get_username()
