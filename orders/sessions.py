"""What a database session of the shop needs beyond its settings."""

from typing import Any

IDLE_WRITE_SECONDS = 10  # a frozen worker lets go of a sale's hot row after so long


def session_prepare(*, connection: Any, **_: Any) -> None:
    """Have MariaDB end a transaction that has written and then stays idle; MySQL knows no such limit."""
    if connection.vendor == "mysql" and connection.mysql_is_mariadb:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION idle_write_transaction_timeout = %s", [IDLE_WRITE_SECONDS])
