"""Loopback ports: whether one is free, and which to take instead."""

import errno
import socket

HOST = "127.0.0.1"
TRIED_AFTER_A_TAKEN_ONE = 100
LARGEST_PORT = 65_535


class NoFreePort(RuntimeError):
    """Neither the wanted port nor one near it can be had."""


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen at the loopback port now.

    :raises NoFreePort: this user may not listen there at all
    """
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: a past connection is no server
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise NoFreePort(f"Port {port} cannot be used: {error.strerror}.") from error
    return True


def port_choose(wanted: int) -> int:
    """Return the wanted port, or the next free one after it.

    :raises NoFreePort: none of the next ones is free either
    """
    if not 1 <= wanted <= LARGEST_PORT:
        raise NoFreePort(f"There is no port {wanted}. Choose one between 1 and {LARGEST_PORT}.")
    for port in range(wanted, min(wanted + TRIED_AFTER_A_TAKEN_ONE, LARGEST_PORT + 1)):
        if port_is_free(port):
            return port
    raise NoFreePort(f"Port {wanted} is taken, and so are those after it. Choose another: PORT=... make demo")
