"""Where the Valkey sockets of a data folder lie; Django-free, so that settings and supervisor agree.

The place follows from the data folder alone, never from the environment: a second terminal, a cron job and the
next start find the servers that the first start made.
"""

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

# The kernel's limit for a socket path is 108 bytes on Linux and 104 on macOS, closing NUL included.
LONGEST_SOCKET_PATH_BYTES = 103
SHORT_ROOT = Path("/tmp")  # noqa: S108  not TMPDIR: that differs between terminals; the folder below is private
SALE, CACHE = "sale", "cache"
SERVERS = (SALE, CACHE)
CACHE_DATABASE, SESSION_DATABASE, BROKER_DATABASE = 0, 1, 2


class UnsafeSocketFolder(RuntimeError):
    """The folder for sockets belongs to somebody else, or others may enter it."""


def socket_folder(var_dir: Path) -> Path:
    """Return the folder of the sockets: the data folder, or a short private one where its path is too long."""
    folder = Path(os.path.realpath(var_dir))
    longest = max(len(os.fsencode(folder / f"{name}.sock")) for name in SERVERS)
    if longest <= LONGEST_SOCKET_PATH_BYTES:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return SHORT_ROOT / f"shop-{os.getuid()}-{digest}"


def socket_folder_prepare(var_dir: Path) -> Path:
    """Make the folder of the sockets, for this user alone, and return it.

    :raises UnsafeSocketFolder: somebody else made it before, or it is not private
    """
    folder = socket_folder(var_dir)
    if folder == Path(os.path.realpath(var_dir)):
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or folder.is_symlink() or found.st_mode & 0o077:
        raise UnsafeSocketFolder(
            f"{folder} must be a folder of this user that nobody else may enter; remove it"
        )
    return folder


def socket_path(var_dir: Path, name: str) -> Path:
    """Return the socket of a server; name: SALE or CACHE."""
    return socket_folder(var_dir) / f"{name}.sock"


def server_urls(var_dir: Path) -> dict[str, str]:
    """Return the addresses of the embedded servers by the setting that holds them."""
    sale, cache = (quote(str(socket_path(var_dir, name))) for name in SERVERS)
    return {
        "REDIS_URL": f"unix://{sale}",
        "CACHE_URL": f"unix://{cache}?db={CACHE_DATABASE}",
        "SESSION_REDIS_URL": f"unix://{cache}?db={SESSION_DATABASE}",
        "CELERY_BROKER_URL": f"redis+socket://{cache}?virtual_host={BROKER_DATABASE}",
    }
