"""A MariaDB server in a directory of its own, durable at every commit."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.services.processes import (
    Child,
    Server,
    ServiceFailed,
    find_program,
    free_port,
    short_directory,
    wait_until,
)

START_SECONDS = 30
DATABASE = "flash"
ZONE_FILES = Path("/usr/share/zoneinfo")
# Django converts dates to the display zone inside the database, which knows no zone names until told.
ZONES = ("UTC", "Asia/Shanghai")


def mariadb_programs() -> dict[str, str | None]:
    """Find the programs that a server needs: name → path, None where there is none."""
    return {
        "mariadbd": find_program("mariadbd"),
        "mariadb-install-db": find_program("mariadb-install-db"),
        "mariadb": find_program("mariadb"),
        "mariadb-tzinfo-to-sql": find_program("mariadb-tzinfo-to-sql"),
    }


class MariaDBServer(Server):
    """One MariaDB with the database `flash`; root needs no password, over the socket and over loopback TCP.

    options: more words of mariadbd's command line, for example a log-bin for a replica.
    """

    def __init__(self, *, directory: Path | None = None, options: Sequence[str] = ()) -> None:
        self.directory = directory or short_directory("mariadb-")
        self.data = self.directory / "data"
        self.socket_path = self.directory / "mariadb.sock"
        self.port = free_port()
        self.child = Child(
            [_program("mariadbd"), *self._server_words(), *options], log_path=self.directory / "mariadb.log"
        )

    def _server_words(self) -> list[str]:
        return [
            "--no-defaults",
            *_as_root(),
            f"--datadir={self.data}",
            f"--socket={self.socket_path}",
            f"--pid-file={self.directory / 'mariadb.pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=48M",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
        ]

    @property
    def url(self) -> str:
        """The value for DATABASE_URL."""
        return f"mysql://root@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Start it, creating its data the first time, and wait until it answers."""
        fresh = not self.data.exists()
        if fresh:
            self._install()
        self.child.start()
        wait_until(self._answers, deadline_seconds=START_SECONDS, what="MariaDB start", child=self.child)
        if fresh:
            self.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4", database="")
            self._load_zones()

    def execute(self, statements: str, *, database: str = DATABASE) -> str:
        """Run SQL as root over the socket and return the rows: a line each, columns between tabs."""
        done = self._client(statements, database=database)
        if done.returncode != 0:
            raise ServiceFailed(f"SQL failed: {done.stderr}\n{self.child.log_tail()}")
        return done.stdout

    def _client(self, statements: str, *, database: str) -> "subprocess.CompletedProcess[str]":
        command = [
            _program("mariadb"),
            "--no-defaults",
            "-u",
            "root",
            "-S",
            str(self.socket_path),
            "-N",
            "-B",
        ]
        command += [database] if database else []
        return subprocess.run(
            command, input=statements, capture_output=True, text=True, timeout=60, check=False
        )

    def _answers(self) -> bool:
        return self._client("SELECT 1", database="").returncode == 0

    def _install(self) -> None:
        command = [
            _program("mariadb-install-db"),
            "--no-defaults",
            *_as_root(),
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise ServiceFailed(f"mariadb-install-db failed: {done.stdout}{done.stderr}")

    def _load_zones(self) -> None:
        for zone in ZONES:
            command = [_program("mariadb-tzinfo-to-sql"), str(ZONE_FILES / zone), zone]
            made = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
            self.execute(made.stdout, database="mysql")

    def __enter__(self) -> Self:
        super().__enter__()
        return self


def _program(name: str) -> str:
    found = mariadb_programs()[name]
    if found is None:
        raise ServiceFailed(f"{name} is not installed")
    return found


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
