"""Buffered log files with lines that cannot be forged. Plain Python; Django is not imported."""

from shop.observability.logs.handler import BufferedFileHandler
from shop.observability.logs.lifecycle import drop_counts, flush_all, install_sigterm_flush
from shop.observability.logs.records import install_lean_records

__all__ = [
    "BufferedFileHandler",
    "drop_counts",
    "flush_all",
    "install_lean_records",
    "install_sigterm_flush",
]
