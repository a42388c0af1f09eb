"""Django's admin pages for people and groups: what is changed there decides who may approve, so it is audited."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest

from runs.models import Act
from runs.services import audit


class _Audited:
    """Beside Django's own log, which may be changed."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _record(request, obj, "added", message)
        return super().log_addition(request, obj, message)  # type: ignore[misc] # a ModelAdmin's

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _record(request, obj, "changed", message)
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            _record(request, obj, "deleted", None)
        return super().log_deletions(request, queryset)  # type: ignore[misc]


def _record(request: HttpRequest, obj: Any, what: str, message: Any) -> None:
    groups = {"groups": sorted(group.name for group in obj.groups.all())} if isinstance(obj, User) and obj.pk else {}
    subject = f"{obj._meta.verbose_name} {obj}"
    audit.record(request.user, Act.ADMINISTERED, subject=subject, changed={"what": what, "message": message or [], **groups})


class AuditedUsers(_Audited, UserAdmin):  # type: ignore[type-arg] # generic in the stubs alone
    pass


class AuditedGroups(_Audited, GroupAdmin):
    pass


admin.site.unregister(User)
admin.site.unregister(Group)
admin.site.register(User, AuditedUsers)
admin.site.register(Group, AuditedGroups)
