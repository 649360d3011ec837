"""The worker and the server of one environment, from the first start to the end."""

from __future__ import annotations

import os
import shutil
import weakref
from typing import Literal

from av_td3.config import EnvConfig, parse_address
from av_td3.driving.errors import ServerTakenError, SimulatorUnreachableError
from av_td3.driving.ownership import ServerClaim, claim_for_program
from av_td3.supervision.crew import CrewBase, CrewFailure, CrewMaker, Server
from av_td3.supervision.incidents import Incident, IncidentLog
from av_td3.supervision.patience import Patience


class OwnCrew:
    """The crew that an environment owns: started when it is needed, renewed, replaced, and given back.

    It is given back also when nobody calls ``close``, so nothing in here refers to the environment.

    Args:
        config, split, render_mode, name: of the environment.
        make: starts a crew.
        log: incidents and renewals; the processes write into its folder.
        patience: deadlines of a start; it is told how long one took.
        temporary: remove that folder in the end.
    """

    def __init__(
        self,
        config: EnvConfig,
        split: str,
        render_mode: str | None,
        name: str,
        make: CrewMaker,
        log: IncidentLog,
        patience: Patience,
        temporary: bool,
    ) -> None:
        self._config, self._split, self._render_mode, self._name = config, split, render_mode, name
        self._make, self._log, self._patience = make, log, patience
        self.crew: CrewBase | None = None
        """None before the first start, and when it has failed or was given up."""
        self.state: Literal["needs reset", "ready", "stepping"] = "needs reset"
        """Of the worker: no episode is under way; it awaits an action; it makes a step."""
        self.routes: int | None = None
        """How many the split has; None before the first start."""
        self.restarts = 0
        """How often worker, or worker and server, were replaced after a failure."""
        self.renewals = 0
        """How often the server was replaced in good order."""
        self.episodes = 0
        """Begun on this server."""
        self._reopen = False
        """Whether the worker has failed and is to begin anew."""
        self._to_be_replaced = False
        """Whether the crew has failed, and none has taken its place yet."""
        self._left: Server | None = None
        """Left behind by a crew whose worker failed; the next crew takes it over."""
        self._claim: ServerClaim | None = None
        """On the server at ``simulator.address``.  None before the first start, and without an address."""
        self._temporary = temporary
        self._pid = os.getpid()

    @property
    def is_ours(self) -> bool:
        """False in a process that was forked from the owner: it has a copy of this object only."""
        return os.getpid() == self._pid

    # ------------------------------------------------------------------ start

    def ready(self) -> CrewBase:
        """The crew; it is started, or its worker begins anew, where needed.

        Raises:
            CrewFailure: that failed; another try may succeed.
            ServerTakenError: another environment is within an episode on the server, or another program
                uses it.
            SetupError: the simulator cannot serve this configuration.
        """
        crew = self._start() if self.crew is None else self.crew
        if self._reopen:
            self._reopen = False
            crew.reopen(self._patience.retry_limit("map"))
        return crew

    def _start(self) -> CrewBase:
        self._take_turn()
        server, self._left = self._left, None
        config = self._patience.applied(self._config, retry=server is not None)
        try:
            crew = self._make(config, self._split, self._render_mode, self._log.folder, self._name, server)
        except SimulatorUnreachableError as error:
            if self.routes is None:
                raise SimulatorUnreachableError(
                    f"{error}. Start it, or correct env.simulator.address; without an address a minicarla is "
                    "started for you"
                ) from None
            raise CrewFailure("error", str(error)) from None  # it was there: somebody may restart it
        if server is None:
            self._patience.took("start", crew.start_took_s)
            self.episodes = 0
        self._patience.took("map", crew.map_took_s)
        self.crew, self.routes = crew, crew.routes
        self.restarts += self._to_be_replaced
        self._to_be_replaced = False
        if config.simulator.address is not None:
            _LAST_ON[config.simulator.address] = self
        self._report_port(crew)
        return crew

    def _take_turn(self) -> None:
        """A running server serves one environment at a time: evaluation, say, between two episodes.

        Another environment of this process that uses it and is between episodes gives it up, and
        starts again at its next reset.
        """
        address = self._config.simulator.address
        if address is None:
            return
        if self._claim is None:
            self._claim = claim_for_program(*parse_address(address))
        other = _LAST_ON.get(address)
        if other is not None and other is not self and other.crew is not None and other.is_ours:
            if other.state != "needs reset":
                raise ServerTakenError(
                    f"another environment of this process is within an episode on the server at {address}. "
                    "One server serves one environment at a time: end that episode, or close that environment"
                )
            other.crew.close()
            other.crew = None

    def _report_port(self, crew: CrewBase) -> None:
        simulator = self._config.simulator
        if crew.port == crew.wanted_port or not simulator.npc or simulator.traffic != "traffic_manager":
            return
        self._log.add(
            Incident(
                during="start",
                kind="port-taken",
                text=f"something listens on port {crew.wanted_port}, the Traffic Manager's",
                action=f"took port {crew.port}",
                consecutive=0,
            )
        )

    # ------------------------------------------------------------------ end

    def renew_if_due(self) -> None:
        """Replace a server that is old, or has become large, before it fails.  Also rotates the logs."""
        crew = self.crew
        if crew is None:
            return
        crew.trim_logs()
        why = self._why_renew(crew.server) if crew.server is not None else ""
        if why:
            self.crew = None
            crew.close()
            self.renewals += 1
            self._log.renewed(why)

    def _why_renew(self, server: Server) -> str:
        simulator = self._config.simulator
        episodes, hours = simulator.renew_after_episodes, simulator.renew_after_hours
        if episodes is not None and self.episodes >= episodes:
            return f"{self.episodes} episodes"
        if hours is not None and server.hours >= hours:
            return f"{server.hours:.2f} hours old"
        if simulator.renew_above_gib is not None:
            gib = server.memory / 2**30
            if gib > simulator.renew_above_gib:
                return f"{gib:.2f} GiB of memory"
        return ""

    def begin_anew(self) -> None:
        """After a failure: the worker stays, and connects again before it is used."""
        self._reopen = True

    def replace(self, keep_server: bool) -> None:
        """After a failure: end the worker, and the server unless it is kept; others start when needed."""
        self._to_be_replaced = True
        self.discard(keep_server)

    def discard(self, keep_server: bool = False) -> None:
        """End worker and server at once, or the worker alone."""
        self._reopen = False
        crew, self.crew = self.crew, None
        if crew is None:
            return
        if keep_server:
            self._left = crew.leave_server()
        else:
            crew.kill()

    def give_up(self) -> None:
        """End what is left; the folder stays, since its logs say why."""
        self.discard()
        self._end_left_server()
        self._temporary = False

    def give_back(self) -> None:
        """End the processes and remove the folder; does nothing in a forked process."""
        if not self.is_ours:
            return
        crew, self.crew = self.crew, None
        if crew is not None:
            crew.close()
        self._end_left_server()
        self._claim = None
        if self._temporary:
            shutil.rmtree(self._log.folder, ignore_errors=True)

    def _end_left_server(self) -> None:
        server, self._left = self._left, None
        if server is not None:
            server.stop()


_LAST_ON: weakref.WeakValueDictionary[str, OwnCrew] = weakref.WeakValueDictionary()
"""Whose crew of this process was last on each running server."""
