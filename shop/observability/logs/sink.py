"""The file that several processes append to."""

import os
from collections.abc import Callable
from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE = 0o640  # lines name users: the owner writes, a log shipper's group reads


class AppendFile:
    """Appends a batch with one write(), and follows the path when the file is rotated away.

    On a local file system the kernel carries out each write() on an O_APPEND descriptor whole, at the end
    as it is then, so batches of several processes never mix. For one thread at a time.
    """

    def __init__(self, path: Path, write: Callable[[int, memoryview], int] = os.write) -> None:
        self._path = path
        self._write = write
        self._fd: int | None = None
        self._identity: tuple[int, int] | None = None
        self._cut = False

    def append(self, batch: bytes) -> bytes:
        """Append the batch and return b"", or what is left of it when the file takes no more for now.

        What is left starts at a line's beginning: a line that was cut short is written again, whole, behind
        a line feed that ends its fragment, because another process may append before the disk has room.
        :raises OSError: nothing of the batch could be written
        """
        fd = self._current_fd()
        if self._cut:
            self._write_all(fd, b"\n")
            self._cut = False
        written = self._write_all(fd, batch)
        if written == len(batch):
            return b""
        line_start = batch.rfind(b"\n", 0, written) + 1
        self._cut = line_start != written
        return batch[line_start:]

    def close(self) -> None:
        """Close the descriptor; a later append opens the file again."""
        fd, self._fd, self._identity = self._fd, None, None
        if fd is not None:
            os.close(fd)

    def _write_all(self, fd: int, batch: bytes) -> int:
        """Return how many bytes went out; a short write is continued at once."""
        view = memoryview(batch)
        written = 0
        while written < len(view):
            try:
                count = self._write(fd, view[written:])
            except OSError:
                if not written:
                    raise
                break
            if not count:
                break
            written += count
        return written

    def _current_fd(self) -> int:
        if self._fd is not None and self._identity == _identity_of(self._path):
            return self._fd
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, _FLAGS, _MODE)
        status = os.fstat(fd)
        old, self._fd, self._identity = self._fd, fd, (status.st_dev, status.st_ino)
        self._cut = False
        if old is not None:
            os.close(old)
        return fd


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
