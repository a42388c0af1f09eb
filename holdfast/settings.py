"""One settings file, read from the environment (docs/settings.md lists every name)."""

import os
import re
import secrets
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url

from holdfast import logs
from holdfast.embedded import Home

BASE_DIR = Path(__file__).resolve().parent.parent


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        sys.exit(f"{name} is {text!r}; a whole number was expected.")
    return int(text)


def _words(name: str) -> list[str]:
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


def _networks(name: str) -> list[IPv4Network | IPv6Network]:
    try:
        return [ip_network(word) for word in _words(name)]
    except ValueError as error:
        sys.exit(f"{name}: {error}; networks such as 10.1.0.0/16 were expected.")


HOLDFAST_DATA_DIR = Path(os.environ.get("HOLDFAST_DATA_DIR") or BASE_DIR / ".holdfast").absolute()
HOLDFAST_HOME = Home(HOLDFAST_DATA_DIR)
HOLDFAST_PORT = _number("HOLDFAST_PORT", 8000)
HOLDFAST_WORKERS = _number("HOLDFAST_WORKERS", 2)
HOLDFAST_SLOTS = _number("HOLDFAST_SLOTS", 4)  # pool children a worker
HOLDFAST_APPS = _words("HOLDFAST_APPS")
HOLDFAST_DEMO = os.environ.get("HOLDFAST_DEMO") == "1"
HOLDFAST_MAX_BODY = _number("HOLDFAST_MAX_BODY", 5 * 1024 * 1024)  # bytes
HOLDFAST_GRACE = _number("HOLDFAST_GRACE", 1)  # seconds a step may go on after SIGTERM
HOLDFAST_UNDO = _number("HOLDFAST_UNDO", 5)  # seconds for which a page's decision can be taken back
HOLDFAST_STRETCH = 30.0  # seconds a worker stays with one run while others are due
HOLDFAST_ROLE = os.environ.get("HOLDFAST_ROLE", "")  # "web" in the web process, which pools its connections


def _secret_key() -> str:
    return os.environ.get("HOLDFAST_SECRET_KEY") or _kept("secret-key", lambda: secrets.token_urlsafe(50))


def _new_master_key() -> str:
    return urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _new_receipt_key() -> str:
    return b64encode(secrets.token_bytes(32)).decode()


def _kept(name: str, make: Callable[[], str]) -> str:
    """A secret that is made once and kept in the data folder, where the environment gives none."""
    path = HOLDFAST_DATA_DIR / name
    if not path.exists():
        HOLDFAST_DATA_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        scratch.touch(mode=0o600)
        scratch.write_text(make())
        try:
            os.link(scratch, path)  # the first of several processes wins, the others read its key
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
    return path.read_text()


SECRET_KEY = _secret_key()
HOLDFAST_MASTER_KEYS = _words("HOLDFAST_MASTER_KEY") or [_kept("master-key", _new_master_key)]  # the first wraps, all unwrap
for _key in HOLDFAST_MASTER_KEYS:
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}=", _key):
        sys.exit("HOLDFAST_MASTER_KEY: keys of 32 bytes in URL-safe base64 were expected; manage.py new_master_key makes one.")
HOLDFAST_RECEIPT_KEY = os.environ.get("HOLDFAST_RECEIPT_KEY") or _kept("receipt-key", _new_receipt_key)  # signs receipts
DEBUG = False
ALLOWED_HOSTS = _words("HOLDFAST_HOSTS") or ["127.0.0.1", "localhost", "[::1]"]
CSRF_TRUSTED_ORIGINS = _words("HOLDFAST_ORIGINS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "template_partials",
    "ninja",
    "workflows",
    "runs",
    "checkpoints",
    "approvals",
    "engine",
    "console",
    *(["demo"] if HOLDFAST_DEMO else []),
    "holdfast",
    *HOLDFAST_APPS,
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "holdfast.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "holdfast.middleware.door",
    "holdfast.middleware.same_person",
    "holdfast.idempotency.api_answers",
]

ROOT_URLCONF = "holdfast.urls"
ASGI_APPLICATION = "holdfast.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "holdfast.context.frame",
            ],
            "builtins": [
                "runs.templatetags.holdfast",
                "approvals.templatetags.gates",
                "console.templatetags.timeline",
                "console.templatetags.charts",
                "template_partials.templatetags.partials",
            ],
        },
    }
]

# Keep-alives let a worker that is cut off from the database give up within 10 s (docs/durability.md).
DATABASE_OPTIONS: dict[str, object] = {
    "connect_timeout": 5,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "holdfast" + (f" {HOLDFAST_ROLE}" if HOLDFAST_ROLE else ""),
}
# Prepared statements need a connection of our own; behind a pooler (then there is a lease URL) they are not used.
HOLDFAST_PREPARES = not os.environ.get("HOLDFAST_LEASE_URL")
DATABASE_URL = os.environ.get("DATABASE_URL") or HOLDFAST_HOME.database_url
HOLDFAST_LEASE_URL = os.environ.get("HOLDFAST_LEASE_URL") or DATABASE_URL
_DATABASE: dict[str, Any] = dict(dj_database_url.parse(DATABASE_URL))
if "postgresql" not in str(_DATABASE.get("ENGINE")):
    sys.exit("DATABASE_URL must name a PostgreSQL database (postgresql://…); Holdfast runs on nothing else.")
_DATABASE["OPTIONS"] = {**DATABASE_OPTIONS, **_DATABASE.get("OPTIONS", {})}
if HOLDFAST_ROLE == "web":
    # Each pause between two tries of the pool is twice the one before; giving up early makes the next request try anew.
    _DATABASE["OPTIONS"]["pool"] = {"min_size": 2, "max_size": 20, "timeout": 10, "reconnect_timeout": 2}
    _DATABASE["CONN_HEALTH_CHECKS"] = True  # after a restart of the database no request gets a connection that has ended
else:
    _DATABASE["CONN_MAX_AGE"] = None
DATABASES = {"default": _DATABASE}

REDIS_URL = os.environ.get("REDIS_URL") or HOLDFAST_HOME.redis_url
BROKER_URL = os.environ.get("BROKER_URL") or os.environ.get("REDIS_URL") or HOLDFAST_HOME.broker_url

HOLDFAST_URL = (os.environ.get("HOLDFAST_URL") or f"http://127.0.0.1:{HOLDFAST_PORT}").rstrip("/")  # as people reach it
HOLDFAST_LINK_DAYS = _number("HOLDFAST_LINK_DAYS", 7)  # for which a link in a message opens its gate
if HOLDFAST_LINK_DAYS < 1:
    sys.exit("HOLDFAST_LINK_DAYS is 0; at least 1 was expected.")
HOLDFAST_OUTBOUND_ALLOW = _networks("HOLDFAST_OUTBOUND_ALLOW")  # private networks that messages may be sent to
_SMTP = urlsplit(os.environ.get("HOLDFAST_SMTP_URL", ""))
HOLDFAST_SENDS_MAIL = bool(_SMTP.hostname)
if _SMTP.geturl() and (_SMTP.scheme not in ("smtp", "smtp+tls", "smtps") or not HOLDFAST_SENDS_MAIL):
    sys.exit("HOLDFAST_SMTP_URL: smtp://, smtp+tls:// (STARTTLS) or smtps://user:password@host:port was expected.")
EMAIL_HOST, EMAIL_PORT = _SMTP.hostname or "", _SMTP.port or {"smtps": 465, "smtp+tls": 587}.get(_SMTP.scheme, 25)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_SMTP.username or ""), unquote(_SMTP.password or "")
EMAIL_USE_TLS, EMAIL_USE_SSL = _SMTP.scheme == "smtp+tls", _SMTP.scheme == "smtps"
DEFAULT_FROM_EMAIL = os.environ.get("HOLDFAST_MAIL_FROM") or "Holdfast <holdfast@localhost>"

AUTH_PASSWORD_VALIDATORS = [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = f"holdfast-{HOLDFAST_PORT}"  # two copies on one host keep their own sessions
CSRF_COOKIE_NAME = f"holdfast-csrf-{HOLDFAST_PORT}"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = os.environ.get("HOLDFAST_HTTPS") == "1"
CSRF_FAILURE_VIEW = "holdfast.views.csrf_failure"
DATA_UPLOAD_MAX_MEMORY_SIZE = HOLDFAST_MAX_BODY
FILE_UPLOAD_MAX_MEMORY_SIZE = HOLDFAST_MAX_BODY
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = False
SERVESTATIC_MAX_AGE = 300

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

HOLDFAST_LOG = os.environ.get("HOLDFAST_LOG") or "console"
if HOLDFAST_LOG not in ("console", "json"):
    sys.exit(f"HOLDFAST_LOG is {HOLDFAST_LOG!r}; console or json was expected.")
LOGGING = logs.logging_config(HOLDFAST_LOG)
logs.configure()

# Counters of all processes of this host; read before prometheus_client is imported.
HOLDFAST_METRICS_DIR = HOLDFAST_DATA_DIR / "metrics"
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(HOLDFAST_METRICS_DIR)
HOLDFAST_METRICS_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
