"""Accounts, and who is in which group: what admins change here decides who may do what, so each change is an act."""

import secrets
from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from runs.access import ADMIN, ROLES, require
from runs.invalid import FieldsInvalid
from runs.models import Act
from runs.services import audit

NAME = 150  # characters


class PersonInvalid(FieldsInvalid):
    pass


@transaction.atomic
def add(*, by: Any, username: str, email: str = "", groups: Collection[str] = ()) -> tuple[User, str]:
    """A new account, and its first password, which can be read only now. Raises PersonInvalid, NotPermitted."""
    require(by, "administer")
    errors = _errors(email, groups)
    try:
        UnicodeUsernameValidator()(username)
    except ValidationError:
        errors["username"] = "letters, digits and @.+-_ were expected"
    if not username or len(username) > NAME:
        errors["username"] = f"a name of 1 to {NAME} characters was expected"
    if User.objects.filter(username__iexact=username).exists():
        errors["username"] = f"{username} is there already"
    if errors:
        raise PersonInvalid(errors)
    password = secrets.token_urlsafe(12)
    try:
        with transaction.atomic():
            user = User.objects.create_user(username, email, password)
    except IntegrityError:
        raise PersonInvalid({"username": f"{username} is there already"}) from None
    user.groups.set(Group.objects.filter(name__in=groups))
    _record(by, user, "added")
    return user, password


@transaction.atomic
def change(user_id: int, *, by: Any, email: str, groups: Collection[str], is_active: bool) -> User:
    """Set the account's address, groups (roles among them) and whether it may sign in. Raises PersonInvalid, NotPermitted."""
    require(by, "administer")
    user = User.objects.select_for_update(no_key=True).get(pk=user_id)
    errors = _errors(email, groups)
    if user.pk == by.pk and not (is_active and (user.is_superuser or ADMIN in groups)):
        errors["groups"] = "you would lock yourself out; ask another admin"
    if errors:
        raise PersonInvalid(errors)
    User.objects.filter(pk=user.pk).update(email=email, is_active=is_active)
    user.groups.set(Group.objects.filter(name__in=groups))
    user.refresh_from_db()
    _record(by, user, "changed")
    return user


@transaction.atomic
def new_password(user_id: int, *, by: Any) -> tuple[User, str]:
    """Another password, which can be read only now; whoever is signed in by the old one is signed out. Raises NotPermitted."""
    require(by, "administer")
    user = User.objects.select_for_update(no_key=True).get(pk=user_id)
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save(update_fields=["password"])
    _record(by, user, "given another password")
    return user, password


@transaction.atomic
def add_group(name: str, *, by: Any) -> Group:
    """Raises PersonInvalid, NotPermitted."""
    require(by, "administer")
    name = name.strip()
    if not name or len(name) > NAME or "\0" in name or ":" in name:
        raise PersonInvalid({"name": f"a name of 1 to {NAME} characters, without a colon, was expected"})
    group, is_new = Group.objects.get_or_create(name=name)
    if not is_new:
        raise PersonInvalid({"name": f"{name} is there already"})
    audit.record(by, Act.ADMINISTERED, subject=f"group {name}", changed={"what": "added"})
    return group


def _errors(email: str, groups: Collection[str]) -> dict[str, str]:
    errors = {}
    if email:
        try:
            validate_email(email)
        except ValidationError:
            errors["email"] = "an address such as ann@example.com was expected"
    known = {*ROLES, *Group.objects.filter(name__in=groups).values_list("name", flat=True)}
    if unknown := [name for name in groups if name not in known]:
        errors["groups"] = f"groups that there are were expected, not {unknown[0][:50]!r}"
    for role in set(groups) & set(ROLES):
        Group.objects.get_or_create(name=role)
    return errors


def _record(by: Any, user: User, what: str) -> None:
    groups = sorted(user.groups.values_list("name", flat=True))
    changed = {"what": what, "email": user.email, "active": user.is_active, "groups": groups}
    audit.record(by, Act.ADMINISTERED, subject=f"user {user}", changed=changed)
