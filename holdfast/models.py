"""What belongs to the doors: tokens, and the answers already given to repeated POSTs."""

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.http import HttpRequest
from django.utils import timezone

from runs.clock import Now

PREFIX = "hf_"


USED_EVERY = timedelta(minutes=1)  # how exactly the last use of a token is known


class Scope(models.TextChoices):
    """What a token may at most do of what its owner may."""

    ALL = "all", "everything its owner may"
    READ = "read", "read"
    RUNS = "runs", "read, start and control runs"
    GATES = "gates", "read, and decide gates"

    def allows(self, method: str, path: str) -> bool:
        """Whether a request may be made: by its method and its path under ``/api/``."""
        if self == Scope.ALL or method in ("GET", "HEAD", "OPTIONS"):
            return True
        if path.endswith("/reveal"):  # a secret is no matter of running
            return False
        nouns = {Scope.RUNS: ("runs", "workflows"), Scope.GATES: ("gates",)}
        return path.removeprefix("/api/").partition("/")[0] in nouns.get(self, ())


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is stored: 256 random bits need no slow hash."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    digest = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=100, default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.ALL, db_default=Scope.ALL)
    last_used_at = models.DateTimeField(null=True)  # to the minute

    def __str__(self) -> str:
        return self.name or f"token {self.pk}"

    def allows(self, request: HttpRequest) -> bool:
        """Whether its scope covers what is asked for."""
        return Scope(self.scope).allows(request.method or "", request.path)

    @staticmethod
    def hash(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()

    @classmethod
    def issue(cls, user: Any, *, name: str = "", scope: str = Scope.ALL, expires_at: Any = None) -> str:
        """A new token for ``user``; it can be read only now."""
        token = PREFIX + secrets.token_urlsafe(32)
        cls.objects.create(user=user, digest=cls.hash(token), name=name, scope=scope, expires_at=expires_at)
        return token

    @classmethod
    def find(cls, token: str) -> "ApiToken | None":
        """The valid token of an active user, or None. That it was used is noted."""
        valid = models.Q(expires_at=None) | models.Q(expires_at__gt=Now())
        found = cls.objects.filter(valid, digest=cls.hash(token), user__is_active=True).select_related("user").first()
        if found is not None and (found.last_used_at is None or timezone.now() - found.last_used_at > USED_EVERY):
            cls.objects.filter(pk=found.pk).update(last_used_at=Now())
        return found

    @classmethod
    def owner(cls, token: str) -> Any | None:
        """The active user whose valid token this is, or None."""
        found = cls.find(token)
        return found.user if found else None


class StoredAnswer(models.Model):
    """The answer to a POST with an ``Idempotency-Key``: given again to the same body, refused to another."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="stored_answers")
    key = models.CharField(max_length=200)
    body_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(null=True)  # NULL while the first request is at work
    content = models.TextField(default="", blank=True)
    content_type = models.CharField(max_length=100, default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(name="stored_answer_once", fields=["user", "key"])]

    def __str__(self) -> str:
        return self.key
