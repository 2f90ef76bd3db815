"""Settings of `make demo` and of work on the code: loopback, demo data, profiler on. Never for production."""

import os
import secrets

from .base import *
from .base import STATIC_ROOT, VAR_DIR, env


def _kept_secret(name: str) -> str:
    """Return a secret that is made on first use and kept, so that a restart logs nobody out."""
    path = VAR_DIR / f"{name}.secret"
    VAR_DIR.mkdir(parents=True, exist_ok=True)
    try:
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    return path.read_text()


DEBUG = env.bool("DEBUG", default=False)
DEMO = True
SECRET_KEY = env.str("SECRET_KEY", default="") or _kept_secret("django")
PAYMENT_SANDBOX_SECRET = env.str("PAYMENT_SANDBOX_SECRET", default="") or _kept_secret("payment")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
WHITENOISE_USE_FINDERS = True  # files as they lie in the tree: no collectstatic before a look
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
SILK_PERCENT = env.float("SILK_PERCENT", default=100)
