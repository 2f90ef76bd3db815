"""Settings that hold everywhere; the environment chooses the servers."""

from datetime import timedelta
from pathlib import Path

import environ
from csp.constants import NONE, SELF
from django.utils.translation import gettext_lazy as _

from shop.observability.logging_config import logging_config
from shop.observability.profiler import may_see_profiles, should_profile
from shop.settings.sockets import server_urls

BASE_DIR = Path(__file__).resolve().parent.parent.parent
env = environ.Env()

VAR_DIR = Path(env.str("SHOP_VAR_DIR", default=str(BASE_DIR / "var")))
DEMO = False
DEBUG = False
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "treebeard",
    "silk",
    "shop.observability",
    "shop.accounts",
    "shop.catalog",
    "orders",
    "seckill",
    "shop.site",
]

MIDDLEWARE = [
    "shop.observability.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "shop.observability.profiler.SilkPolicyMiddleware",
    "silk.middleware.SilkyMiddleware",
    "shop.site.time_zone.ShopperTimeZoneMiddleware",
    "shop.site.middleware.ShopErrorMiddleware",
]

ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"

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
                "django.template.context_processors.i18n",
            ],
        },
    }
]

# ---- database -------------------------------------------------------------------------------------------
DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'shop.sqlite3'}")
DATABASES = {"default": env.db_url_config(DATABASE_URL)}
if "mysql" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"].setdefault("OPTIONS", {}).update(
        {
            "charset": "utf8mb4",
            "isolation_level": "read committed",
            "init_command": "SET sql_mode='STRICT_TRANS_TABLES', innodb_lock_wait_timeout=10",
            # Seconds: a frozen server must not hold page threads and probes for ever.
            "connect_timeout": 5,
            "read_timeout": 30,
            "write_timeout": 30,
        }
    )
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
else:
    DATABASES["default"].setdefault("OPTIONS", {}).update(
        {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,  # seconds; the busy time-out
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        }
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ---- Valkey: the sale's server alone; cache, sessions and broker on another ------------------------------
_EMBEDDED = server_urls(VAR_DIR)
REDIS_URL = env.str("REDIS_URL", default=_EMBEDDED["REDIS_URL"])
CACHE_URL = env.str("CACHE_URL", default=_EMBEDDED["CACHE_URL"])
SESSION_REDIS_URL = env.str("SESSION_REDIS_URL", default=_EMBEDDED["SESSION_REDIS_URL"])
CACHES = {
    name: {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "OPTIONS": {
            "CLIENT_CLASS": "django_redis.client.DefaultClient",
            # A cache that is gone or frozen is a miss, told in the log, and costs a page 0.3 s an access at most.
            "IGNORE_EXCEPTIONS": True,
            "SOCKET_CONNECT_TIMEOUT": 0.3,
            "SOCKET_TIMEOUT": 0.3,
        },
        "KEY_PREFIX": prefix,
    }
    for name, url, prefix in (("default", CACHE_URL, "shop"), ("sessions", SESSION_REDIS_URL, "session"))
}
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True
# cached_db: a lost cache server logs nobody out.
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_CACHE_ALIAS = "sessions"

# ---- the sale -------------------------------------------------------------------------------------------
# Acknowledgements of replicas that a reservation waits for (WAITAOF); 0 with a single server.
SALE_REPLICA_ACKS = env.int("SALE_REPLICA_ACKS", default=0)
SALE_OPEN_MAX = env.int("SALE_OPEN_MAX", default=100_000)  # undecided units; 20 s of measured drain
SALE_PAY_WINDOW_SECONDS = env.int("SALE_PAY_WINDOW_SECONDS", default=15 * 60)
SALE_SETTLE_AFTER_SECONDS = env.int("SALE_SETTLE_AFTER_SECONDS", default=10)
SALE_RATE_LIMIT = env.int("SALE_RATE_LIMIT", default=20)  # reservations an account in the window below
SALE_RATE_WINDOW_SECONDS = env.int("SALE_RATE_WINDOW_SECONDS", default=10)
PAYMENT_PROVIDER = env.str("PAYMENT_PROVIDER", default="sandbox")
PAYMENT_SANDBOX_SECRET = env.str("PAYMENT_SANDBOX_SECRET", default="")

# ---- Kafka and Celery -----------------------------------------------------------------------------------
KAFKA_BOOTSTRAP_SERVERS: list[str] = env.list("KAFKA_BOOTSTRAP_SERVERS", default=[])
KAFKA_ORDERS_TOPIC = env.str("KAFKA_ORDERS_TOPIC", default="orders")
CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default=_EMBEDDED["CELERY_BROKER_URL"])
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2}  # seconds
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "refunds": {"task": "orders.refunds_sweep", "schedule": 5.0},
    "keys": {"task": "seckill.keys_purge", "schedule": 600.0},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
WORKER_EMBEDS_BEAT = env.bool("WORKER_EMBEDS_BEAT", default=False)

# ---- processes ------------------------------------------------------------------------------------------
# Under the demo's supervisor a process ends with its parent, so that nothing is left behind.
EXIT_WITH_PARENT = env.bool("EXIT_WITH_PARENT", default=False)
PAGE_THREADS = env.int("PAGE_THREADS", default=2)
PAGE_QUEUE_MAX = env.int("PAGE_QUEUE_MAX", default=64)  # requests that may wait for a page thread
PAGE_WAIT_SECONDS = env.float("PAGE_WAIT_SECONDS", default=10.0)

# ---- accounts -------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "site:home"
LOGOUT_REDIRECT_URL = "site:home"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
    "UPDATE_LAST_LOGIN": False,
}

# ---- API ------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_PAGINATION_CLASS": "shop.site.api.CursorPages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "shop.site.api.exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Flash-sale shop",
    "DESCRIPTION": "Reserve, pay and follow orders of a flash sale.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1/",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
}

# ---- languages and time ---------------------------------------------------------------------------------
LANGUAGE_CODE = "zh-hans"
LANGUAGES = [("zh-hans", _("Simplified Chinese")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
SHOPPER_TIME_ZONE = "Asia/Shanghai"

# ---- static files and security ---------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024

# ---- profiler: superusers only; on in development, a sampled share elsewhere ------------------------------------
SILKY_AUTHENTICATION = True
SILKY_AUTHORISATION = True
SILKY_PERMISSIONS = may_see_profiles
SILK_PERCENT = env.float("SILK_PERCENT", default=0)  # share of requests that are recorded
SILKY_INTERCEPT_FUNC = should_profile
SILKY_MAX_RECORDED_REQUESTS = 2_000
SILKY_MAX_RECORDED_REQUESTS_CHECK_PERCENT = 1
SILKY_MAX_REQUEST_BODY_SIZE = 0  # bodies may hold passwords
SILKY_MAX_RESPONSE_BODY_SIZE = 0

# ---- metrics: with a token, or from this machine alone --------------------------------------------------
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")

# ---- logs -----------------------------------------------------------------------------------------------
LOG_DIR = Path(env.str("LOG_DIR", default=str(VAR_DIR / "logs")))
LOGGING = logging_config(LOG_DIR, level=env.str("LOG_LEVEL", default="INFO"), debug=False)
LOGGING_CONFIG = "logging.config.dictConfig"
