import errno
import logging
import os
import threading
import time
from pathlib import Path

import pytest

from shop.observability.logs import BufferedFileHandler
from shop.observability.logs import handler as handler_module
from shop.observability.logs.sink import AppendFile

NEVER_SECONDS = 3_600.0
DEV_FULL = Path("/dev/full")


def messages(path):
    return [line.split(" ", 5)[5] for line in path.read_text().splitlines()] if path.exists() else []


class Disk:
    """Stands in for os.write: stalls or fails on demand."""

    def __init__(self):
        self.well = threading.Event()
        self.well.set()
        self.reached = threading.Event()
        self.error = None
        self.limit = None

    def write(self, fd, data):
        self.reached.set()
        self.well.wait()
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return os.write(fd, data if self.limit is None else data[: self.limit])


@pytest.fixture
def disk():
    disk = Disk()
    yield disk
    disk.error = None
    disk.well.set()


@pytest.fixture
def make(tmp_path, disk):
    handlers = []

    def make_logger(path=tmp_path / "app.log", **options):
        handler = BufferedFileHandler(path, **{"write": disk.write, **options})
        handlers.append(handler)
        logger = logging.Logger("shop.a", logging.DEBUG)  # noqa: LOG001 - has no parents
        logger.addHandler(handler)
        return logger, handler

    yield make_logger
    disk.error = None
    disk.well.set()
    for handler in handlers:
        handler.close()


def stall(logger, disk):
    """Stall the disk, with the writer's thread inside it holding the line "first"."""
    disk.well.clear()
    disk.reached.clear()
    logger.warning("first")
    assert disk.reached.wait(5)


def test_full_buffer_drops_info_first_and_a_warning_takes_its_place(make, disk, tmp_path):
    logger, handler = make(flush_records=5, capacity=5, flush_seconds=NEVER_SECONDS)
    stall(logger, disk)
    for number in range(5):
        logger.info("info %d", number)
    logger.info("no room")
    assert handler.dropped() == {"info": 1, "warning": 0, "error": 0}
    logger.warning("warning 1")
    logger.error("error 1")
    assert handler.dropped() == {"info": 3, "warning": 0, "error": 0}
    disk.well.set()
    assert handler.flush() is True
    assert messages(tmp_path / "app.log") == [
        "first",
        "info 2",
        "info 3",
        "info 4",
        "warning 1",
        "error 1",
        "dropped 3 records (in all info=3 warning=0 error=0)",
    ]
    assert handler.written() == 6


def test_buffer_full_of_warnings_drops_and_counts_them_by_class(make, disk, tmp_path):
    logger, handler = make(flush_records=2, capacity=2, flush_seconds=NEVER_SECONDS)
    stall(logger, disk)
    for level in (logging.WARNING, logging.ERROR, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "level %d", level)
    logger.info("no room")
    assert handler.dropped() == {"info": 1, "warning": 1, "error": 2}
    disk.well.set()
    assert handler.flush() is True
    assert messages(tmp_path / "app.log") == [
        "first",
        "level 30",
        "level 40",
        "dropped 4 records (in all info=1 warning=1 error=2)",
    ]


def test_drop_notice_counts_only_what_is_new(make, disk, tmp_path):
    logger, handler = make(flush_records=1, capacity=1, flush_seconds=NEVER_SECONDS)
    for _ in range(2):
        stall(logger, disk)
        logger.info("kept")
        logger.info("lost")
        disk.well.set()
        assert handler.flush() is True
    notices = [text for text in messages(tmp_path / "app.log") if text.startswith("dropped")]
    assert notices == [
        "dropped 1 records (in all info=1 warning=0 error=0)",
        "dropped 1 records (in all info=2 warning=0 error=0)",
    ]


def test_stalled_disk_never_blocks_the_caller(make, disk):
    logger, handler = make(flush_records=100, flush_seconds=0.01)
    stall(logger, disk)
    begun = time.monotonic()
    for number in range(3_000):
        logger.log(30 if number % 3 == 0 else 20, "%d", number)
    assert time.monotonic() - begun < 1.0
    assert sum(handler.dropped().values()) == 2_000
    assert len(handler._buffer) == 1_000


def test_flush_of_a_stalled_disk_gives_up_and_says_so(make, disk):
    logger, handler = make()
    stall(logger, disk)
    begun = time.monotonic()
    assert handler.flush(timeout_seconds=0.05) is False
    assert time.monotonic() - begun < 1.0
    disk.well.set()
    assert handler.flush() is True


def test_close_of_a_stalled_disk_gives_up_and_counts_what_is_lost(make, disk, monkeypatch):
    monkeypatch.setattr(handler_module, "_WAIT_SECONDS", 0.05)
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    stall(logger, disk)
    logger.info("waiting")
    begun = time.monotonic()
    handler.close()
    logger.error("after close")
    assert time.monotonic() - begun < 1.0
    assert handler.dropped() == {"info": 1, "warning": 1, "error": 1}


def test_stalled_disk_is_waited_for_once_at_exit(make, disk, monkeypatch):
    monkeypatch.setattr(handler_module, "_WAIT_SECONDS", 0.4)
    logger, handler = make()
    stall(logger, disk)
    begun = time.monotonic()
    logging.shutdown([lambda: handler])
    assert 0.4 <= time.monotonic() - begun < 0.7


def test_pipe_that_nobody_reads_never_blocks_the_caller(make, tmp_path):
    os.mkfifo(tmp_path / "pipe.log")
    logger, handler = make(tmp_path / "pipe.log", write=os.write)
    for _ in range(100):
        logger.error("into the pipe")
    assert handler.flush(timeout_seconds=0.05) is False
    reader = os.open(tmp_path / "pipe.log", os.O_RDONLY)
    assert handler.flush() is True
    assert os.read(reader, 65_536).count(b"into the pipe\n") == 100
    os.close(reader)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_disk_error_raises_nothing_and_the_lines_wait(make, disk, tmp_path, capfd, error):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    disk.error = error
    logger.error("one")
    logger.info("two")
    assert handler.flush() is False
    assert handler.flush() is False
    assert handler.write_errors() >= 2
    assert capfd.readouterr().err.count("cannot be written") == 1
    disk.error = None
    assert handler.flush() is True
    assert messages(tmp_path / "app.log") == ["one", "two"]
    assert sum(handler.dropped().values()) == 0


@pytest.mark.skipif(not DEV_FULL.exists(), reason="this system has no /dev/full")
def test_full_device_is_survived_and_lines_follow_to_the_next_file(make, tmp_path):
    path = tmp_path / "app.log"
    path.symlink_to(DEV_FULL)
    logger, handler = make(path, write=os.write)
    logger.info("one")
    assert handler.flush() is False
    assert isinstance(handler._writer.last_error, OSError)
    path.unlink()
    logger.info("two")
    assert handler.flush() is True
    assert messages(path) == ["one", "two"]


def test_disk_error_at_close_counts_what_is_lost(make, disk):
    logger, handler = make(flush_seconds=NEVER_SECONDS)
    disk.error = errno.ENOSPC
    logger.info("one")
    logger.warning("two")
    handler.close()
    assert handler.dropped() == {"info": 1, "warning": 1, "error": 0}
    assert handler.written() == 0


def test_folder_that_cannot_be_made_raises_nothing(make, tmp_path):
    (tmp_path / "file").write_text("")
    logger, handler = make(tmp_path / "file" / "app.log")
    logger.error("one")
    assert handler.flush() is False
    assert handler.write_errors() >= 1


def test_thread_that_cannot_start_keeps_the_record_for_later(make, tmp_path, monkeypatch):
    logger, handler = make(flush_seconds=NEVER_SECONDS)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        logger.info("one")
        logger.warning("two")
        assert handler.flush() is False
    logger.info("three")
    assert handler.flush() is True
    assert messages(tmp_path / "app.log") == ["one", "two", "three"]


def test_thread_that_never_starts_is_made_up_for_at_close(make, tmp_path, monkeypatch):
    logger, handler = make()

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    logger.info("one")
    handler.close()
    assert messages(tmp_path / "app.log") == ["one"]


def test_rotated_file_is_left_and_a_new_one_opened(make, tmp_path):
    logger, handler = make()
    logger.info("one")
    handler.flush()
    (tmp_path / "app.log").rename(tmp_path / "app.log.1")
    logger.info("two")
    handler.flush()
    (tmp_path / "app.log").unlink()
    logger.info("three")
    handler.flush()
    (tmp_path / "app.log").rename(tmp_path / "app.log.2")
    (tmp_path / "app.log").write_text("")
    logger.info("four")
    handler.flush()
    assert messages(tmp_path / "app.log.1") == ["one"]
    assert messages(tmp_path / "app.log.2") == ["three"]
    assert messages(tmp_path / "app.log") == ["four"]


def test_rotation_leaks_no_descriptor(make, tmp_path):
    logger, handler = make()
    logger.info("one")
    handler.flush()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        (tmp_path / "app.log").rename(tmp_path / f"app.log.{number}")
        logger.info("%d", number)
        handler.flush()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_short_writes_are_continued(make, disk, tmp_path):
    disk.limit = 7
    logger, handler = make()
    for number in range(20):
        logger.info("number %d", number)
    assert handler.flush() is True
    assert messages(tmp_path / "app.log") == [f"number {number}" for number in range(20)]


def test_batch_cut_by_a_full_disk_starts_again_at_a_line(tmp_path):
    room = [25]

    def write(fd, data):
        taken = min(room[0], len(data))
        if not taken:
            raise OSError(errno.ENOSPC, "full")
        room[0] -= taken
        return os.write(fd, data[:taken])

    sink = AppendFile(tmp_path / "app.log", write)
    left = sink.append(b"first line\nsecond line\nthird line\n")
    assert left == b"third line\n"
    with pytest.raises(OSError, match="full"):
        sink.append(left)
    room[0] = 1_000
    assert sink.append(left) == b""
    assert (tmp_path / "app.log").read_bytes() == b"first line\nsecond line\nth\nthird line\n"
    sink.close()


def test_batch_cut_between_lines_goes_on_without_an_empty_line(tmp_path):
    room = [11]

    def write(fd, data):
        taken = min(room[0], len(data))
        room[0] -= taken
        return os.write(fd, data[:taken])

    sink = AppendFile(tmp_path / "app.log", write)
    left = sink.append(b"first line\nsecond line\n")
    room[0] = 1_000
    assert (left, sink.append(left)) == (b"second line\n", b"")
    assert (tmp_path / "app.log").read_bytes() == b"first line\nsecond line\n"
    sink.close()
