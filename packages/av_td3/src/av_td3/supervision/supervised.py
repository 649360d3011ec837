"""``SupervisedEnv``: the driving environment as everybody but the worker sees it.

The environment runs in a worker process, beside a simulator that is started for it unless an
address is given.  Every wait has a deadline.  When the simulator or the worker fails, both are
replaced and the episode is truncated; the caller goes on with ``reset``.
"""

from __future__ import annotations

import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from av_td3.config import STEP_SECONDS, EnvConfig, Split
from av_td3.driving import observation as obs
from av_td3.driving.checks import (
    RENDER_MODES,
    check_log_dir,
    check_options,
    check_render_mode,
    check_split,
    environment_config,
)
from av_td3.driving.errors import DrivingError
from av_td3.driving.info import StepInfo
from av_td3.driving.observation import Observation
from av_td3.driving.reward import no_reward
from av_td3.driving.termination import SIMULATOR_FAULT
from av_td3.supervision import protocol
from av_td3.supervision.crew import Crew, CrewBase, CrewFailure, CrewMaker
from av_td3.supervision.escalation import IN_WORDS, Escalation
from av_td3.supervision.incidents import Incident, IncidentLog
from av_td3.supervision.launcher import check_map
from av_td3.supervision.own_crew import OwnCrew
from av_td3.supervision.patience import Patience, RestartBudget


class SupervisionError(DrivingError):
    """The simulator failed more often than ``max_consecutive_restarts``, ``max_restarts_per_hour`` or
    ``max_restarts`` allow."""


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
        temporary = log_dir is None
        self.log_dir = Path(tempfile.mkdtemp(prefix="av_td3_")) if log_dir is None else check_log_dir(log_dir)
        name = name or split
        self._log = IncidentLog(self.log_dir, name)
        self._budget = RestartBudget(self.config.simulator)
        self._escalation = Escalation(self.config.simulator)
        self._patience = Patience(self.config.simulator)
        make = crews or Crew
        self._mine = OwnCrew(
            self.config, split, render_mode, name, make, self._log, self._patience, temporary
        )
        self._sent_at = self._deadline = 0.0
        """Of the step that is being made, ``time.monotonic``."""
        self._lost_request: CrewFailure | None = None
        self._shown: protocol.Slot | None = None
        self._info: StepInfo | None = None
        self._recording = False
        self._warned_of_npc = False
        self._closed = threading.Event()
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
        route, record = check_options(options, self.render_mode, self._mine.routes)
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**63))
        if self._mine.state == "stepping":
            self._mine.discard()
        self._mine.state = "needs reset"
        request = {"do": "reset", "seed": seed, "options": {"route": route, "record": record}}
        self._mine.renew_if_due()
        while True:
            try:
                crew = self._ready_crew()
                asked = time.monotonic()
                crew.ask(request)
                limit = self._patience.retry_limit if self._escalation.retries else self._patience.limit
                answer = crew.answer(asked + limit("reset"))
                self._patience.took("reset", time.monotonic() - asked)
                break
            except CrewFailure as failure:
                during = "start" if self._mine.crew is None else "reset"
                self._record_failure(during, failure, "try again with")
        self._recording = record
        self._mine.episodes += 1
        self._log.recovered()
        info = self._take(crew, answer)
        self._mine.state = "ready"
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
        crew, state = self._mine.crew, self._mine.state
        if state != "ready" or crew is None:
            raise gymnasium.error.ResetNeeded(
                "call reset() before step()" if state != "stepping" else "receive() has to come first"
            )
        self._lost_request = None
        try:
            crew.ask({"do": "step", "steer": float(steer), "pedal": float(pedal)})
        except CrewFailure as failure:
            self._lost_request = failure  # reported by receive()
        self._sent_at = time.monotonic()
        self._deadline = self._sent_at + self._patience.limit("step")
        self._mine.state = "stepping"

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
        if self._mine.state != "stepping" or crew is None:
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
            self._mine.state = "needs reset"
            return self._observation(), 0.0, False, True, self._info_of_failure(failure)
        self._budget.worked()
        self._escalation.worked()
        # The learner may have been busy for longer than the simulator was: that time is not the step's.
        self._patience.took("step", time.monotonic() - max(waiting_since, self._sent_at))
        info = self._take(crew, answer)
        terminated, truncated = answer["terminated"], answer["truncated"]
        self._mine.state = "needs reset" if terminated or truncated else "ready"
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
        self._closed.set()
        crew = self._mine.crew
        if crew is not None:
            crew.abort()

    def close(self) -> None:
        """End worker and server; nothing is left behind.  Closing twice is fine."""
        self._closed.set()
        self._mine.state = "needs reset"
        self._finalizer()

    @property
    def incidents(self) -> list[Incident]:
        """All incidents since this environment was made."""
        return self._log.incidents

    @property
    def downtime_s(self) -> float:
        """Seconds between failures and the first observation after them, all together."""
        return self._log.downtime_s

    @property
    def restarts(self) -> int:
        """How often the worker, or worker and server, were replaced after a failure."""
        return self._mine.restarts

    @property
    def renewals(self) -> int:
        """How often the server was replaced in good order (``renew_after_episodes`` and the like)."""
        return self._mine.renewals

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
        while self._mine.routes is None:
            try:
                self._ready_crew()
            except CrewFailure as failure:
                self._record_failure("start", failure, "try again with")
        return self._mine.routes

    def _check_usable(self) -> None:
        if self._closed.is_set():
            raise gymnasium.error.ClosedEnvironmentError("the environment was closed")
        if not self._mine.is_ours:
            raise RuntimeError(
                "this environment belongs to the process that this one was forked from: make another here"
            )

    # ------------------------------------------------------------------ failures

    def _ready_crew(self) -> CrewBase:
        """The crew, started or replaced where needed, after failures with a pause before it.

        Raises:
            CrewFailure: that failed; another try may succeed.
        """
        if self._mine.crew is None:
            self._closed.wait(self._budget.pause)
        self._check_usable()  # another thread may have closed it
        crew = self._mine.ready()
        if self._closed.is_set():  # while the crew was started, there was nothing yet that could be ended
            self._mine.give_back()
        self._check_usable()
        return crew

    def _record_failure(self, during: str, failure: CrewFailure, action: str) -> None:
        """Write the incident down and end what is left of the crew.

        Raises:
            SupervisionError: there have been too many in a row.
            ClosedEnvironmentError: it is no incident: another thread wants to close the environment.
        """
        self._log.failed()
        following = self._escalation.after(failure, self._mine.crew)
        if following == "same worker":
            self._mine.begin_anew()
        else:
            self._mine.replace(keep_server=following == "new worker")
        self._check_usable()
        if not self._escalation.retries and (failure.kind == "deadline" or "time-out" in failure.text):
            self._patience.missed()
        why = self._budget.failed()
        self._log.add(
            Incident(
                during=during,
                kind=failure.kind,
                text=failure.text,
                action="give up" if why else f"{action} {IN_WORDS[following]}",
                consecutive=self._budget.in_a_row,
                output=failure.output,
            )
        )
        if why:
            self._mine.give_up()
            raise SupervisionError(
                f"the simulator failed {why}, the last time during {during}: {failure.text}. "
                f"{self._advice()} Logs: {self.log_dir}"
            )

    def _advice(self) -> str:
        address = self.config.simulator.address
        if address is None:
            return "The end of the logs says why."
        return f"Start the CARLA server at {address} again."

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
