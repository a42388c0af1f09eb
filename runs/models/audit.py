"""What people did here: one row per act, append-only, each linked to the one before."""

from typing import Any, ClassVar

from django.db import models

from workflows import codec


class Act(models.TextChoices):
    """What people do. The journal of a run says what became of it."""

    DECIDED = "decided"
    TOOK_BACK = "took_back"
    BYPASSED = "bypassed"
    CLAIMED = "claimed"
    UNCLAIMED = "unclaimed"
    DELEGATED = "delegated"
    UNDELEGATED = "undelegated"
    SNOOZED = "snoozed"
    WOKE = "woke"
    COMMENTED = "commented"
    STARTED = "started"
    CANCELLED = "cancelled"
    HELD = "held"
    RELEASED = "released"
    RETRIED = "retried"
    ROLLED_BACK = "rolled_back"
    FORKED = "forked"
    SIGNALLED = "signalled"
    NOTED = "noted"
    REVEALED = "revealed"
    IMPORTED = "imported"
    KILLED = "killed"
    WORKFLOW_HELD = "workflow_held"
    WORKFLOW_RELEASED = "workflow_released"
    POLICY_CHANGED = "policy_changed"
    PREFERENCE_CHANGED = "preference_changed"
    PASSWORD_CHANGED = "password_changed"
    MAINTAINED = "maintained"
    ABSENCE_SET = "absence_set"
    ABSENCE_ENDED = "absence_ended"
    CHANNEL_CHANGED = "channel_changed"
    REDELIVERED = "redelivered"
    LINK_REVOKED = "link_revoked"
    CHAT_LINKED = "chat_linked"
    CHAT_UNLINKED = "chat_unlinked"
    SIGNED_IN = "signed_in"
    SIGN_IN_REFUSED = "sign_in_refused"
    SIGNED_OUT = "signed_out"
    TOKEN_MADE = "token_made"
    TOKEN_REVOKED = "token_revoked"
    ADMINISTERED = "administered"
    EXPORTED = "exported"


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def visible_to(self, user: Any) -> "AuditQuerySet":
        """Admins read everything; others what they did themselves."""
        from runs.access import may

        return self.all() if may(user, "administer") else self.filter(actor_id=user.pk or -1)


class AuditEntry(models.Model):
    """One act. Written by ``runs.services.audit`` alone; the database refuses to change or delete it.

    PostgreSQL gives ``seq`` and ``digest`` as the transaction commits (a deferred trigger): nobody holds the chain's lock for
    longer than a commit takes, and the order of ``seq`` is the order of commits.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    actor_id = models.IntegerField(null=True)  # no foreign key: it outlives the person's account
    actor = models.CharField(max_length=150)
    act = models.CharField(max_length=30, choices=Act)
    channel = models.CharField(max_length=20)
    address = models.CharField(max_length=64, default="", blank=True)
    run_id = models.UUIDField(null=True)
    gate_id = models.UUIDField(null=True)
    decision_id = models.BigIntegerField(null=True)
    subject = models.CharField(max_length=300, default="", blank=True)  # what it was done to, in words
    reason = models.TextField(default="", blank=True)
    detail = models.TextField()  # {"seen", "changed"}: JSON exactly as it was hashed
    content_hash = models.BinaryField(max_length=32)
    seq = models.BigIntegerField(null=True, unique=True)
    digest = models.BinaryField(max_length=32, null=True)

    objects: ClassVar[models.Manager["AuditEntry"]] = models.Manager.from_queryset(AuditQuerySet)()

    class Meta:
        indexes = [
            models.Index(name="audit_newest", fields=["-at", "-id"]),
            models.Index(name="audit_by_actor", fields=["actor", "-at"]),
            models.Index(name="audit_by_act", fields=["act", "-at"]),
            models.Index(name="audit_by_run", fields=["run_id"]),
            models.Index(name="audit_by_gate", fields=["gate_id"]),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.act} {self.subject}"

    def facts(self) -> dict[str, Any]:
        """``{"seen"?, "changed"?}``"""
        found: dict[str, Any] = codec.loads(self.detail)
        return found

    def parts(self) -> list[Any]:
        """What the content hash is over."""
        ids = [None if one is None else str(one) for one in (self.run_id, self.gate_id)]
        who = [self.at.isoformat(), self.actor_id, self.actor, self.act, self.channel, self.address]
        return [*who, *ids, self.decision_id, self.subject, self.reason, self.detail]


class AuditHead(models.Model):
    """The chain's end. One row, written by the trigger alone."""

    seq = models.BigIntegerField()
    digest = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return str(self.seq)
