"""Logs what CARLA's client does not tell its program.

The client does not wait for the answers of most calls, such as ``apply_control``, and throws them away.  If
such a call is refused, the program goes on as if nothing had happened.
"""

from __future__ import annotations

import logging
from weakref import WeakKeyDictionary

from minicarla.server.connections import ClientConnection
from minicarla.wire import rpc
from minicarla.world.calls import PROCEDURES
from minicarla.world.calls.registry import IGNORED

log = logging.getLogger("minicarla")

MOST_LINES = 100
"""Lines that are logged about one client at most."""


class UntoldErrors:
    """Logs refused calls that nobody waits for, and calls that have no effect, each text once a client."""

    def __init__(self) -> None:
        self._said: WeakKeyDictionary[ClientConnection, set[str]] = WeakKeyDictionary()

    def check(self, client: ClientConnection, request: rpc.Request, result: object) -> None:
        """Look at the wrapped result of a call."""
        row = PROCEDURES.get(request.name)
        if row is not None and row.status == IGNORED:
            self._say(client, f"{request.name} has no effect: {row.note}")
        elif row is not None and row.bare and isinstance(result, str):  # the client raises std::bad_cast
            self._say(client, f"refused: {result}")
        elif not request.waits:
            results = result if isinstance(result, list) and row is not None and row.bare else [result]
            for refusal in filter(None, map(rpc.refusal, results)):
                self._say(client, f"{request.name} was refused, which its client does not report: {refusal}")

    def _say(self, client: ClientConnection, text: str) -> None:
        said = self._said.setdefault(client, set())
        if len(said) > MOST_LINES or text in said:
            return
        said.add(text)
        if len(said) > MOST_LINES:
            text = "further calls of this client without effect are not logged"
        log.warning("%s", text)
