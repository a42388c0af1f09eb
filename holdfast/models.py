"""What belongs to the doors: tokens, and the answers already given to repeated POSTs."""

import hashlib
import secrets
from typing import Any

from django.conf import settings
from django.db import models

from runs.clock import Now

PREFIX = "hf_"


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is stored: 256 random bits need no slow hash."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_tokens")
    digest = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=100, default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name or f"token {self.pk}"

    @staticmethod
    def hash(token: str) -> str:
        return hashlib.sha256(token.encode()).hexdigest()

    @classmethod
    def issue(cls, user: Any, *, name: str = "", expires_at: Any = None) -> str:
        """A new token for ``user``; it can be read only now."""
        token = PREFIX + secrets.token_urlsafe(32)
        cls.objects.create(user=user, digest=cls.hash(token), name=name, expires_at=expires_at)
        return token

    @classmethod
    def owner(cls, token: str) -> Any | None:
        """The active user whose valid token this is, or None."""
        found = (
            cls.objects.select_related("user")
            .filter(digest=cls.hash(token), user__is_active=True)
            .filter(models.Q(expires_at=None) | models.Q(expires_at__gt=Now()))
            .first()
        )
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
