"""What is tried after a failure: the same worker, a new worker, a new server."""

from __future__ import annotations

from typing import Literal

from av_td3.config import SimulatorConfig
from av_td3.supervision.crew import CrewBase, CrewFailure

Try = Literal["same worker", "new worker", "new server"]
IN_WORDS: dict[Try, str] = {
    "same worker": "the same worker",
    "new worker": "a new worker (the server stays)",
    "new server": "a new worker and a new server",
}
PROBE_S = 1.0
"""How long a server whose worker has failed may take to answer, to be kept."""


class Escalation:
    """Chooses what is tried next: the mildest that may help and was not tried since the last step.

    The same worker may try again when it is alive and has reported an error, a new worker when the server
    answers.  When the same worker, which connects with a new client, then hangs, it is the server that hangs.
    A minicarla starts in a second, so it is replaced together with the worker; CARLA takes a minute.
    """

    def __init__(self, simulator: SimulatorConfig) -> None:
        self._simulator = simulator
        self._tried: set[Try] = set()

    def after(self, failure: CrewFailure, crew: CrewBase | None) -> Try:
        """What to try after this failure of the crew, which is None if it could not be started."""
        following = self._choose(failure, crew)
        self._tried.add(following)
        return following

    def worked(self) -> None:
        """A step was made."""
        self._tried.clear()

    @property
    def retries(self) -> bool:
        """Whether a server of our own that failed, or whose worker did, is being tried again."""
        return bool(self._tried) and "new server" not in self._tried and self._simulator.address is None

    def _choose(self, failure: CrewFailure, crew: CrewBase | None) -> Try:
        simulator = self._simulator
        if simulator.address is not None:
            return "new worker"  # the server is somebody else's
        if crew is None or crew.server is None or failure.kind in ("server-died", "host-died"):
            return "new server"
        # A Traffic Manager of a client that has failed would abort the worker at its next tick.
        minicarla = simulator.command is None
        own_traffic = simulator.npc > 0 and simulator.traffic != ("auto" if minicarla else "server")
        alive = failure.kind == "error" and not own_traffic
        hangs_again = bool(self._tried) and failure.kind == "deadline"
        can_keep = simulator.command is not None and self._tried <= {"same worker"} and not hangs_again
        if not ((alive and not self._tried) or can_keep) or not crew.server.answers(PROBE_S):
            return "new server"
        return "same worker" if alive and not self._tried else "new worker"
