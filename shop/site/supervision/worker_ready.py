"""Imported by the demo's Celery worker (`-I`): tells the supervisor when the worker takes tasks."""

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

from shop.site.supervision.readiness import READY_FILE_VARIABLE


@worker_ready.connect(weak=False)
def ready_file_write(**_signal: Any) -> None:
    """Write this process's id where the supervisor looks for it."""
    path = os.environ.get(READY_FILE_VARIABLE)
    if path:  # a worker started by hand has nobody to tell
        Path(path).write_text(str(os.getpid()))
