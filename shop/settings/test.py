"""Settings of the test suite: the same code on a throw-away folder; servers are those the fixtures start."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "SHOP_VAR_DIR" not in os.environ:
    os.environ["SHOP_VAR_DIR"] = tempfile.mkdtemp(prefix="shop-test-")
    atexit.register(shutil.rmtree, os.environ["SHOP_VAR_DIR"], ignore_errors=True)
TEST_DIR = Path(os.environ["SHOP_VAR_DIR"])
os.environ.setdefault("REDIS_URL", f"unix://{TEST_DIR}/sale.sock")

from .base import *
from .base import CACHES, DATABASES, STATIC_ROOT

SECRET_KEY = "for-tests-only-" + "k" * 40
PAYMENT_SANDBOX_SECRET = "for-tests-only-payment"
DEMO = True
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1", "[::1]"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # speed; production's are tested by name
CACHES = {
    name: {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": name} for name in CACHES
}
SILK_PERCENT = 0
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
CELERY_BROKER_URL = "memory://"
if "sqlite" in DATABASES["default"]["ENGINE"]:
    # A file, not memory: race tests use several connections at once.
    DATABASES["default"]["TEST"] = {"NAME": str(TEST_DIR / f"test-{os.getpid()}.sqlite3")}
STATIC_ROOT.mkdir(
    parents=True, exist_ok=True
)  # WhiteNoise warns where it is missing, and warnings are errors
