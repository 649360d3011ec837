"""Ports that any number of runs on one machine share without meeting.

A port that is free when one looks may be taken when the simulator binds it.  So whoever looks for a port
first leases it: a socket in Linux's abstract namespace that has the port's number in its name.  The
kernel removes it when its owner dies, however it dies.
"""

from __future__ import annotations

import os
import socket
import weakref

TRIES = 500


class NoPortError(RuntimeError):
    """There is no free port; the message says which were tried."""


class PortLease:
    """Consecutive TCP ports that nothing listens on, and that nobody else leases.

    They are held until :meth:`release`, or until the process ends.  A forked process does not inherit them.

    Args:
        first: where the search begins.
        count: how many ports.

    Raises:
        NoPortError: the next :data:`TRIES` places are all taken.
    """

    def __init__(self, first: int, count: int = 1) -> None:
        self._sockets: list[socket.socket] = []
        last = min(first + TRIES * count, 65536 - count)
        for port in range(first, last + 1, count):
            if all(map(self._take, range(port, port + count))):
                self.port = port
                _HELD.add(self)
                return
            self.release()
        raise NoPortError(f"no free port from {first} to {last + count - 1}")

    def release(self) -> None:
        """Give the ports free."""
        while self._sockets:
            self._sockets.pop().close()

    def _take(self, port: int) -> bool:
        lease = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lease.bind(f"\0av_td3/port/{port}")
        except OSError:
            lease.close()
            return False
        self._sockets.append(lease)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))  # as simulators and the Traffic Manager do
            except OSError:
                return False
        return True


_HELD: weakref.WeakSet[PortLease] = weakref.WeakSet()


def _forget_leases() -> None:
    for lease in list(_HELD):
        lease.release()
    _HELD.clear()


os.register_at_fork(after_in_child=_forget_leases)
