"""Command line of the test services.

python -m tests.services check                  print what this machine has; with REQUIRE_SERVICES=1 fail on a gap
python -m tests.services mariadb -- COMMAND...  run the command with DATABASE_URL on a MariaDB of its own
"""

import os
import signal
import subprocess
import sys

from tests.services.availability import (
    browser_missing,
    kafka_missing,
    mariadb_missing,
    services_required,
    toxiproxy_missing,
)
from tests.services.mariadb import MariaDBServer

NEEDED_IN_CI = {"MariaDB": mariadb_missing, "Kafka": kafka_missing, "Chromium": browser_missing}
USEFUL = {"toxiproxy": toxiproxy_missing}


def check() -> int:
    """Print a line a service; return 1 when one is missing that has to be there."""
    for name, missing in {**NEEDED_IN_CI, **USEFUL}.items():
        reason = missing()
        print(f"{name}: {'yes' if reason is None else f'its tests are skipped: {reason}'}", flush=True)
    gaps = [name for name, missing in NEEDED_IN_CI.items() if missing() is not None]
    return 1 if gaps and services_required() else 0


def on_mariadb(command: list[str]) -> int:
    """Run the command on a fresh MariaDB and return its exit code.

    Without a MariaDB nothing runs: `check`, which goes first, has printed the reason.
    """
    if mariadb_missing() is not None:
        return 1 if services_required() else 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server's directory goes too
    with MariaDBServer() as server:
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": server.url}, check=False).returncode


def main(words: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    match words:
        case ["check"]:
            return check()
        case ["mariadb", "--", _, *_]:
            return on_mariadb(words[2:])
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
