"""Settings of real servers; start-up is refused where they would be unsafe."""

from django.core.exceptions import ImproperlyConfigured

from .base import *
from .base import ALLOWED_HOSTS, CACHE_URL, CELERY_BROKER_URL, DATABASE_URL, PAYMENT_PROVIDER, REDIS_URL, env

SECRET_KEY = env.str("SECRET_KEY", default="")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]  # probes ask the process itself, without TLS
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
LANGUAGE_COOKIE_SECURE = True
SILK_PERCENT = env.float("SILK_PERCENT", default=1)
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}


def _server(url: str) -> str:
    """Return the part of a Redis URL that names the server, without credentials, database and options."""
    address = url.split("://", 1)[-1].rsplit("@", 1)[-1].split("?", 1)[0]
    return address if address.startswith("/") else address.split("/", 1)[0]


def _unsafe() -> list[str]:
    """Return what makes these settings unsafe, in words for whoever starts the servers."""
    found = []
    if len(SECRET_KEY) < 50 or len(set(SECRET_KEY)) < 5:
        found.append("SECRET_KEY must be set, random and at least 50 characters long")
    if not ALLOWED_HOSTS or "*" in ALLOWED_HOSTS:
        found.append("ALLOWED_HOSTS must name the hosts that are served")
    if not DATABASE_URL.startswith("mysql"):
        found.append("DATABASE_URL must name a MySQL or MariaDB server")
    if "REDIS_URL" not in env.ENVIRON or "CACHE_URL" not in env.ENVIRON:
        found.append("REDIS_URL (the sale) and CACHE_URL must be set")
    elif _server(REDIS_URL) in {_server(CACHE_URL), _server(CELERY_BROKER_URL)}:
        found.append("REDIS_URL must name a server of its own: cache and broker may evict and stall")
    if PAYMENT_PROVIDER == "sandbox" and not env.bool("ALLOW_SANDBOX_PAYMENTS", default=False):
        found.append("PAYMENT_PROVIDER is the sandbox, in which no money moves")
    return found


if problems := _unsafe():
    raise ImproperlyConfigured("Refusing to start: " + "; ".join(problems) + ".")
