"""``SupervisedEnv``: the driving environment as everybody but the worker sees it.

The environment runs in a worker process, beside a simulator that is started for it unless an
address is given.  Every wait has a deadline.  When the simulator or the worker fails, both are
replaced and the episode is truncated; the caller goes on with ``reset``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from av_td3.config import STEP_SECONDS, EnvConfig, Split, parse_address
from av_td3.driving import observation as obs
from av_td3.driving.checks import (
    RENDER_MODES,
    check_log_dir,
    check_options,
    check_render_mode,
    check_split,
    environment_config,
)
from av_td3.driving.errors import DrivingError, ServerTakenError, SimulatorUnreachableError
from av_td3.driving.info import StepInfo
from av_td3.driving.observation import Observation
from av_td3.driving.ownership import ServerClaim, claim_for_program
from av_td3.driving.reward import no_reward
from av_td3.driving.termination import SIMULATOR_FAULT
from av_td3.supervision import incidents, protocol
from av_td3.supervision.crew import Crew, CrewBase, CrewFailure, Server
from av_td3.supervision.incidents import Incident
from av_td3.supervision.launcher import check_map
from av_td3.supervision.patience import Patience, RestartBudget

Try = Literal["same worker", "new worker", "new server"]
_WITH: dict[Try, str] = {
    "same worker": "the same worker",
    "new worker": "a new worker (the server stays)",
    "new server": "a new worker and a new server",
}
PROBE_S = 1.0
"""How long a server whose worker has failed may take to answer, to be kept."""


class SupervisionError(DrivingError):
    """The simulator failed more often than ``max_consecutive_restarts``, ``max_restarts_per_hour`` or
    ``max_restarts`` allow."""


class CrewMaker(Protocol):
    """Starts a worker and its server, as :class:`Crew` does; the arguments are the same."""

    def __call__(
        self,
        config: EnvConfig,
        split: str,
        render_mode: str | None,
        logs: Path,
        name: str,
        server: Server | None = None,
        /,
    ) -> CrewBase: ...


class _Belongings:
    """What an environment has to give back, also when nobody calls ``close``."""

    def __init__(self, folder: Path | None) -> None:
        self.crew: CrewBase | None = None
        self.server: Server | None = None
        """Left behind by a crew whose worker failed; the next crew takes it over."""
        self.claim: ServerClaim | None = None
        """On the server at ``simulator.address``.  None before the first reset, and without an address."""
        self.folder = folder
        """A temporary folder; None when there is none to remove."""
        self._pid = os.getpid()

    @property
    def are_ours(self) -> bool:
        """False in a process that was forked from the owner: it has a copy of this object only."""
        return os.getpid() == self._pid

    def give_back(self) -> None:
        """End the processes and remove the folder; does nothing in a forked process."""
        if not self.are_ours:
            return
        crew, self.crew = self.crew, None
        if crew is not None:
            crew.close()
        self.end_server()
        self.claim = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def end_server(self) -> None:
        """End the server that was left behind, if there is one."""
        server, self.server = self.server, None
        if server is not None:
            server.stop()


class SupervisedEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A driving environment that survives its simulator.

    Args:
        config: what to drive; ``simulator.address`` None starts a minicarla for this environment.
        split: ``train`` for the routes of training, ``held_out`` for those of evaluation.
        preset: name of a bundled configuration, in place of ``config``.
        map, npc, address: change these values of ``env.simulator``.
        log_dir: where the processes' output and ``incidents.jsonl`` go.  None: a temporary folder
            that ``close`` removes.
        name: prefix of those files.
        render_mode: None or "rgb_array".
        crews: where worker and server run: on this machine, or as ``av_td3.cluster`` arranges.

    The processes start with the first ``reset``.  When the simulator fails, ``step`` returns the last
    observation, reward 0, ``truncated`` and ``info["termination"] == "simulator_fault"`` with the
    cause in ``info["fault"]``; the next ``reset`` replaces it.

    Raises:
        ConfigError, TypeError, ValueError: what was asked for cannot be; nothing was started.
        SetupError: from ``reset``, when the simulator cannot serve this configuration.
            ``ServerTakenError``, a SetupError: another program drives on the server.
        SupervisionError: from ``reset``, after too many failures.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": round(1 / STEP_SECONDS)}

    def __init__(
        self,
        config: EnvConfig | None = None,
        split: Split = "train",
        *,
        preset: str | None = None,
        map: str | None = None,
        npc: int | None = None,
        address: str | None = None,
        log_dir: Path | str | None = None,
        name: str | None = None,
        render_mode: str | None = None,
        crews: CrewMaker | None = None,
    ) -> None:
        self.config = environment_config(config, preset=preset, map=map, npc=npc, address=address)
        self.split = check_split(split)
        check_render_mode(render_mode)
        check_map(self.config.simulator)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / self.config.step_seconds)}
        self.observation_space: gymnasium.Space[Any] = obs.observation_space(self.config)
        self.action_space: gymnasium.Space[Any] = obs.action_space()
        self.incidents: list[Incident] = []
        """All incidents since this environment was made."""
        self.restarts = 0
        """How often the worker, or worker and server, were replaced after a failure."""
        self.renewals = 0
        """How often the server was replaced in good order (``renew_after_episodes`` and the like)."""
        self.downtime_s = 0.0
        """Seconds between failures and the first observation after them, all together."""
        temporary = log_dir is None
        self.log_dir = Path(tempfile.mkdtemp(prefix="av_td3_")) if log_dir is None else check_log_dir(log_dir)
        self._name = name or split
        self._mine = _Belongings(self.log_dir if temporary else None)
        self._crews: CrewMaker = crews or Crew
        self._state: Literal["needs reset", "ready", "stepping"] = "needs reset"
        self._deadline = 0.0
        self._budget = RestartBudget(self.config.simulator)
        self._patience = Patience(self.config.simulator)
        self._failed_at: float | None = None
        self._sent_at = 0.0
        self._episodes_on_server = 0
        self._to_be_replaced = False
        self._tried: set[Try] = set()
        """Since the last step that was made."""
        self._reopen = False
        """Whether the worker has failed and is to try again."""
        self._lost_request: CrewFailure | None = None
        self._shown: protocol.Slot | None = None
        self._info: StepInfo | None = None
        self._recording = False
        self._warned_of_npc = False
        self._routes: int | None = None
        self._closed = False
        # At garbage collection and at the interpreter's end, when nobody calls close().
        self._finalizer = weakref.finalize(self, self._mine.give_back)

    # ------------------------------------------------------------------ Gymnasium's interface

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; starts or replaces worker and server where needed.

        Without a seed the episode's is drawn from this environment's generator, so a replaced
        worker does not change which routes follow.

        Args:
            options: ``route``, the number of a route of the split (default: drawn with the seed);
                ``record``, whether ``render`` will be called (default: whether there is a render_mode).
        """
        self._check_usable()
        route, record = check_options(options, self.render_mode, self._routes)
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**63))
        if self._state == "stepping":
            self._discard()
            self._reopen = False
        self._state = "needs reset"
        request = {"do": "reset", "seed": seed, "options": {"route": route, "record": record}}
        self._renew_if_due()
        while True:
            try:
                crew = self._ensure_crew()
                if self._reopen:
                    self._reopen = False
                    crew.reopen()
                asked = time.monotonic()
                crew.ask(request)
                answer = crew.answer(asked + self._patience.limit("reset"))
                self._patience.took("reset", time.monotonic() - asked)
                break
            except CrewFailure as failure:
                during = "start" if self._mine.crew is None else "reset"
                self._record_failure(during, failure, "try again with")
        self._recording = record
        self._episodes_on_server += 1
        self._note_recovery()
        info = self._take(crew, answer)
        self._state = "ready"
        self._warn_of_missing_npc(info)
        return self._observation(), cast("dict[str, Any]", info)

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One environment step; see the class for what happens when the simulator fails."""
        self.send(action)
        return self.receive()

    def send(self, action: ArrayLike) -> None:
        """First half of ``step``: hand the action over and return at once.

        Raises:
            InvalidActionError: (a ValueError) the action has another shape than (2,), or is not finite.
        """
        self._check_usable()
        steer, pedal = obs.check_action(action)
        crew = self._mine.crew
        if self._state != "ready" or crew is None:
            raise gymnasium.error.ResetNeeded(
                "call reset() before step()" if self._state != "stepping" else "receive() has to come first"
            )
        self._lost_request = None
        try:
            crew.ask({"do": "step", "steer": float(steer), "pedal": float(pedal)})
        except CrewFailure as failure:
            self._lost_request = failure  # reported by receive()
        self._sent_at = time.monotonic()
        self._deadline = self._sent_at + self._patience.limit("step")
        self._state = "stepping"

    def awaited(self) -> list[Any]:
        """After ``send``, what ``multiprocessing.connection.wait`` takes, to wait for several environments.

        ``receive`` returns at once when one of these is ready, or when there are none.
        """
        crew = self._mine.crew
        return [] if self._lost_request is not None or crew is None else crew.awaited()

    def receive(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Second half of ``step``: wait for the result.

        A learner that comes back late still waits up to a second: the deadline is for the simulator.
        """
        self._check_usable()
        crew = self._mine.crew
        if self._state != "stepping" or crew is None:
            raise gymnasium.error.ResetNeeded("send() has to come first")
        try:
            if self._lost_request is not None:
                raise self._lost_request
            waiting_since = time.monotonic()
            grace = min(1.0, self.config.simulator.step_deadline_s)
            answer = crew.answer(max(self._deadline, waiting_since + grace))
            self._check_frame(answer)
        except CrewFailure as failure:
            self._record_failure("step", failure, "episode truncated; the next begins with")
            self._state = "needs reset"
            return self._observation(), 0.0, False, True, self._info_of_failure(failure)
        self._budget.worked()
        self._tried.clear()
        # The learner may have been busy for longer than the simulator was: that time is not the step's.
        self._patience.took("step", time.monotonic() - max(waiting_since, self._sent_at))
        info = self._take(crew, answer)
        terminated, truncated = answer["terminated"], answer["truncated"]
        self._state = "needs reset" if terminated or truncated else "ready"
        return self._observation(), answer["reward"], terminated, truncated, cast("dict[str, Any]", info)

    def render(self) -> NDArray[np.uint8] | None:
        """(270, 480, 3) RGB picture of the present frame: the car from behind, and the planned route.

        It needs a ``render_mode`` and an episode that is recorded.
        """
        if self.render_mode is None:
            return None
        if not self._recording or self._shown is None:
            raise RuntimeError("this episode is not recorded: reset with options={'record': True}")
        return self._shown.video.copy()

    def abort(self) -> None:
        """From another thread than the one that waits in ``reset`` or ``receive``: make it fail soon.

        The environment can only be closed then.
        """
        self._closed = True
        crew = self._mine.crew
        if crew is not None:
            crew.abort()

    def close(self) -> None:
        """End worker and server; nothing is left behind.  Closing twice is fine."""
        self._closed = True
        self._state = "needs reset"
        self._finalizer()

    @property
    def server_address(self) -> str | None:
        """``host:port`` of the simulator that is driven on; None while there is none."""
        crew = self._mine.crew
        if crew is None or crew.server is None:
            return None if crew is None else self.config.simulator.address
        return crew.server.address

    @property
    def route_count(self) -> int:
        """How many routes the split has; starts the simulator if it does not run yet."""
        while self._routes is None:
            try:
                self._ensure_crew()
            except CrewFailure as failure:
                self._record_failure("start", failure, "try again with")
        return self._routes

    # ------------------------------------------------------------------ the crew

    def _check_usable(self) -> None:
        if self._closed:
            raise gymnasium.error.ClosedEnvironmentError("the environment was closed")
        if not self._mine.are_ours:
            raise RuntimeError(
                "this environment belongs to the process that this one was forked from: make another here"
            )

    def _ensure_crew(self) -> CrewBase:
        """The crew that there is, or a new one.

        Raises:
            CrewFailure: it failed to start; another try may succeed.
        """
        if self._mine.crew is not None:
            return self._mine.crew
        if self._budget.pause:
            time.sleep(self._budget.pause)
            self._check_usable()  # another thread may have closed it
        self._take_over_server()
        try:
            config = self._patience.applied(self.config)
            server, self._mine.server = self._mine.server, None
            fresh = server is None
            crew = self._crews(config, self.split, self.render_mode, self.log_dir, self._name, server)
        except SimulatorUnreachableError as error:
            if self._routes is None:
                raise SimulatorUnreachableError(
                    f"{error}. Start it, or correct env.simulator.address; without an address a minicarla is "
                    "started for you"
                ) from None
            raise CrewFailure("error", str(error)) from None  # it was there: somebody may restart it
        if fresh:
            self._patience.took("start", crew.start_took_s)
            self._episodes_on_server = 0
        self._patience.took("map", crew.map_took_s)
        self._mine.crew, self._routes = crew, crew.routes
        self.restarts += self._to_be_replaced
        self._to_be_replaced = False
        _DRIVERS[self.config.simulator.address] = self
        self._report_port(crew)
        return crew

    def _take_over_server(self) -> None:
        """A running server serves one environment at a time: evaluation, say, between two episodes.

        Another environment of this process that uses it and is between episodes gives it up, and
        starts again at its next reset.

        Raises:
            ServerTakenError: the other one is in the middle of an episode, or another program uses
                the server.
        """
        address = self.config.simulator.address
        if address is not None and self._mine.claim is None:
            self._mine.claim = claim_for_program(*parse_address(address))
        other = _DRIVERS.get(address) if address is not None else None
        if other is None or other is self or other._mine.crew is None or not other._mine.are_ours:
            return
        if other._state != "needs reset":
            raise ServerTakenError(
                f"another environment of this process is within an episode on the server at {address}"
                ". One server serves one environment at a time: end that episode, or close that environment"
            )
        other._mine.crew.close()
        other._mine.crew = None

    def _report_port(self, crew: CrewBase) -> None:
        simulator = self.config.simulator
        if crew.port == crew.wanted_port or not simulator.npc or simulator.traffic != "traffic_manager":
            return
        self._report(
            Incident(
                during="start",
                kind="port-taken",
                text=f"something listens on port {crew.wanted_port}, the Traffic Manager's",
                action=f"took port {crew.port}",
                consecutive=0,
            )
        )

    def _discard(self, keep_server: bool = False) -> None:
        crew, self._mine.crew = self._mine.crew, None
        if crew is not None:
            if keep_server:
                self._mine.server = crew.leave_server()
            else:
                crew.kill()

    def _next_try(self, failure: CrewFailure) -> Try:
        """What is tried after a failure: the first step that may help and was not taken since the last step.

        The same worker may try again when it is alive and has reported an error, a new worker when the server
        answers.  A minicarla starts in a second, so it is replaced together with the worker; CARLA takes a
        minute.
        """
        crew, simulator = self._mine.crew, self.config.simulator
        if simulator.address is not None:
            return "new worker"  # the server is somebody else's
        if crew is None or crew.server is None or failure.kind in ("server-died", "host-died"):
            return "new server"
        # A Traffic Manager of a client that has failed would abort the worker at its next tick.
        minicarla = simulator.command is None
        own_traffic = simulator.npc > 0 and simulator.traffic != ("auto" if minicarla else "server")
        alive = failure.kind == "error" and not own_traffic
        can_keep = simulator.command is not None and self._tried <= {"same worker"}
        if not ((alive and not self._tried) or can_keep) or not crew.server.answers(PROBE_S):
            return "new server"
        return "same worker" if alive and not self._tried else "new worker"

    def _renew_if_due(self) -> None:
        """Replace a server that is old, or has become large, before it fails.  Also rotates the logs."""
        crew = self._mine.crew
        if crew is None:
            return
        crew.trim_logs()
        why = self._why_renew(crew.server) if crew.server is not None else ""
        if why:
            self._mine.crew = None
            crew.close()
            self.renewals += 1
            incidents.note(self.log_dir, "renewals.jsonl", env=self._name, why=why)

    def _why_renew(self, server: Server) -> str:
        simulator = self.config.simulator
        episodes, hours = simulator.renew_after_episodes, simulator.renew_after_hours
        if episodes is not None and self._episodes_on_server >= episodes:
            return f"{self._episodes_on_server} episodes"
        if hours is not None and server.hours >= hours:
            return f"{server.hours:.2f} hours old"
        if simulator.renew_above_gib is not None:
            gib = server.memory / 2**30
            if gib > simulator.renew_above_gib:
                return f"{gib:.2f} GiB of memory"
        return ""

    # ------------------------------------------------------------------ failures

    def _record_failure(self, during: str, failure: CrewFailure, action: str) -> None:
        """Write the incident down and end what is left of the crew.

        Raises:
            SupervisionError: there have been too many in a row.
            ClosedEnvironmentError: it is no incident: another thread wants to close the environment.
        """
        if self._failed_at is None:
            self._failed_at = time.monotonic()
        following = self._next_try(failure)
        self._reopen = following == "same worker"
        if not self._reopen:
            self._discard(keep_server=following == "new worker")
        self._check_usable()
        if failure.kind == "deadline" or "time-out" in failure.text:
            self._patience.missed()
        self._to_be_replaced = self._to_be_replaced or following != "same worker"
        self._tried.add(following)
        why = self._budget.failed()
        self._report(
            Incident(
                during=during,
                kind=failure.kind,
                text=failure.text,
                action="give up" if why else f"{action} {_WITH[following]}",
                consecutive=self._budget.in_a_row,
                output=failure.output,
            )
        )
        if why:
            self._discard()
            self._mine.end_server()
            self._mine.folder = None  # its logs are needed now
            raise SupervisionError(
                f"the simulator failed {why}, the last time during {during}: {failure.text}. "
                f"{self._advice()} Logs: {self.log_dir}"
            )

    def _advice(self) -> str:
        address = self.config.simulator.address
        if address is None:
            return "The end of the logs says why."
        return f"Start the CARLA server at {address} again."

    def _note_recovery(self) -> None:
        if self._failed_at is None:
            return
        seconds = time.monotonic() - self._failed_at
        self._failed_at = None
        self.downtime_s += seconds
        incidents.note(self.log_dir, "recoveries.jsonl", env=self._name, seconds=round(seconds, 3))

    def _check_frame(self, answer: dict[str, Any]) -> None:
        """A step is ``action_repeat`` ticks after the one before; fewer only where the episode ended.

        Raises:
            CrewFailure: it is not, so nobody knows what the step was.
        """
        before, now = self._info["frame"] if self._info is not None else 0, answer["info"]["frame"]
        repeat = self.config.action_repeat
        ended = answer["terminated"] or answer["truncated"]
        if not (before < now <= before + repeat if ended else now == before + repeat):
            raise CrewFailure(
                "error", f"a step led from frame {before} to frame {now} instead of {before + repeat}"
            )

    def _report(self, incident: Incident) -> None:
        self.incidents.append(incident)
        incidents.append(incident, self.log_dir, self._name)

    def _info_of_failure(self, failure: CrewFailure) -> dict[str, Any]:
        info: StepInfo = {
            **cast("StepInfo", self._info),
            "distance_m": 0.0,
            "reward_components": no_reward(),
            "termination": SIMULATOR_FAULT,
            "fault": failure.text,
        }
        return cast("dict[str, Any]", info)

    # ------------------------------------------------------------------ observations

    def _take(self, crew: CrewBase, answer: dict[str, Any]) -> StepInfo:
        """Note what the worker has answered; returns its ``info``."""
        self._shown = crew.observed(answer)
        self._info = answer["info"]
        return answer["info"]

    def _observation(self) -> Observation:
        """A copy of the last whole observation: the worker goes on writing in the shared memory."""
        assert self._shown is not None
        return {"image": self._shown.image.copy(), "vector": self._shown.vector.copy()}

    def _warn_of_missing_npc(self, info: StepInfo) -> None:
        wanted = self.config.simulator.npc
        if info["npc"] < wanted and not self._warned_of_npc:
            self._warned_of_npc = True
            warnings.warn(
                f"the map {self.config.simulator.map} has room for {info['npc']} of the {wanted} other "
                'vehicles that env.simulator.npc asks for; info["npc"] has the number of each episode',
                stacklevel=3,
            )


_DRIVERS: weakref.WeakValueDictionary[str | None, SupervisedEnv] = weakref.WeakValueDictionary()
"""The environment of this process that last drove on each running server."""
