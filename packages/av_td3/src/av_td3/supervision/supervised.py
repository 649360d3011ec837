"""``SupervisedEnv``: the driving environment as everybody but the worker sees it.

The environment runs in a worker process, beside a simulator that is started for it unless an
address is given.  Every wait has a deadline.  When the simulator or the worker fails, both are
replaced and the episode is truncated; the caller goes on with ``reset``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from av_td3.config import STEP_SECONDS, EnvConfig
from av_td3.driving import observation as obs
from av_td3.driving.errors import DrivingError, SetupError, SimulatorUnreachableError, UsageError
from av_td3.driving.observation import Observation
from av_td3.driving.reward import no_reward
from av_td3.driving.termination import SIMULATOR_FAULT
from av_td3.supervision import protocol
from av_td3.supervision.launcher import LaunchError, MinicarlaProcess, free_port
from av_td3.supervision.process import Child

WORKER: Sequence[str] = (sys.executable, "-m", "av_td3.supervision.worker")
CLOSE_DEADLINE = 5.0
"""Seconds for the worker to clean up when asked to."""
LONGEST_BACK_OFF = 10.0
PORT_TAKEN = "port-taken"


class SupervisionError(DrivingError):
    """The simulator failed more often in a row than ``max_consecutive_restarts`` allows."""


@dataclass(frozen=True)
class Incident:
    """One failure of the simulator or the worker, or a port that had to be changed."""

    time: str
    """UTC, ISO 8601."""
    during: str
    """start, reset or step."""
    kind: str
    """``worker-died``, ``server-died``, ``deadline`` (no answer in time), ``error`` (the worker's)
    or ``port-taken``."""
    text: str
    action: str
    """What was done about it."""
    consecutive: int
    """Failures in a row, this one included."""
    output: str = ""
    """The end of the failed process's log."""


class _FaultError(Exception):
    """Internal: the worker or the server failed."""

    def __init__(self, kind: str, text: str, output: str = "") -> None:
        super().__init__(text)
        self.kind, self.text, self.output = kind, text, output


class _Crew:
    """A worker, its server if we own one, and the channels to the worker."""

    def __init__(self, config: EnvConfig, split: str, render_mode: str | None, logs: Path, name: str) -> None:
        self.server: MinicarlaProcess | None = None
        self.worker: Child | None = None
        self._connection: Connection | None = None
        simulator = config.simulator
        deadline = time.monotonic() + simulator.start_deadline_s
        try:
            self._start_worker(config, logs / f"{name}-worker.log")  # it imports while the server starts
            if simulator.address is None:
                try:
                    self.server = MinicarlaProcess(
                        simulator, logs / f"{name}-server.log", simulator.start_deadline_s
                    )
                except LaunchError as error:
                    raise _FaultError("server-died", str(error)) from None
                simulator = simulator.model_copy(update={"address": self.server.address})
            # Evaluation beside training has a Traffic Manager, and so a port, of its own.
            self.wanted_port = simulator.traffic_manager_port + (split == "held_out")
            self.port = free_port(self.wanted_port)
            simulator = simulator.model_copy(update={"traffic_manager_port": self.port})
            settings = config.model_copy(update={"simulator": simulator}).model_dump(mode="json")
            self.ask({"do": "open", "config": settings, "split": split, "render_mode": render_mode})
            self.routes: int = self.answer(deadline)["routes"]
        except BaseException:
            self.kill()
            raise

    def _start_worker(self, config: EnvConfig, log: Path) -> None:
        self.memory = protocol.ObservationMemory(config)
        ours, theirs = socket.socketpair()
        descriptors = (theirs.fileno(), self.memory.fd)
        try:
            self.worker = Child([*WORKER, *map(str, descriptors)], log, pass_fds=descriptors)
        finally:
            theirs.close()
            self._connection = Connection(ours.detach())
            self.memory.close_fd()

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request; _FaultError when the worker is gone."""
        assert self._connection is not None
        try:
            protocol.send(self._connection, request)
        except OSError:
            raise self._death("worker-died") from None

    def answer(self, deadline: float) -> dict[str, Any]:
        """Wait for the answer; _FaultError on death, deadline or a reported failure."""
        assert self._connection is not None and self.worker is not None
        waited: list[Any] = [self._connection, self.worker.sentinel]
        if self.server is not None:
            waited.append(self.server.process.sentinel)
        ready = wait(waited, max(0.0, deadline - time.monotonic()))
        if not ready:
            raise _FaultError("deadline", "no answer within the deadline", self.worker.output())
        if self._connection in ready:
            try:
                message = protocol.receive(self._connection)
            except (EOFError, OSError, ValueError):
                self.worker.wait(1.0)  # its end closes the pipe a moment before it can be reaped
                raise self._death("worker-died") from None
            if message["ok"]:
                return message
            if message["kind"] == "unreachable" and self.server is None:
                raise SimulatorUnreachableError(message["text"])
            if message["kind"] == "setup":
                raise SetupError(message["text"])
            if message["kind"] == "usage":
                raise UsageError(message["text"])
            if self.server is not None and self.server.process.wait(0.05):
                raise self._death("server-died")  # the worker's error is only its consequence
            raise _FaultError("error", message["text"])
        raise self._death("worker-died" if self.worker.sentinel in ready else "server-died")

    def _death(self, kind: str) -> _FaultError:
        child = self.worker if kind == "worker-died" or self.server is None else self.server.process
        assert child is not None
        child.wait(1.0)
        return _FaultError(kind, f"the {kind.split('-')[0]} ended: {child.describe_exit()}", child.output())

    def close(self) -> None:
        """Let the worker clean up, then end both."""
        with contextlib.suppress(_FaultError, DrivingError, ValueError):
            self.ask({"do": "close"})
            self.answer(time.monotonic() + CLOSE_DEADLINE)
            if self.worker is not None:
                self.worker.wait(1.0)
        if self.server is not None:
            self.server.stop(grace_s=1.0)
        self.kill()

    def kill(self) -> None:
        """End both at once."""
        if self.worker is not None:
            self.worker.stop()
        if self.server is not None:
            self.server.stop()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SupervisedEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A driving environment that survives its simulator.

    Args:
        config: what to drive; ``simulator.address`` None starts a minicarla for this environment.
        split: routes for training, or the held-out ones.
        log_dir: where the processes' output and ``incidents.jsonl`` go; None: a temporary folder
            that ``close`` removes.
        name: prefix of those files.
        render_mode: None or "rgb_array".

    The processes start with the first ``reset``.  ``step`` returns, when the simulator fails,
    the last observation, reward 0, ``truncated`` and ``info["termination"] ==
    "simulator_fault"`` with the cause in ``info["fault"]``; the next ``reset`` replaces it.

    Raises:
        SetupError: from ``reset``, when the simulator cannot serve this configuration.
        SupervisionError: from ``reset``, after too many failures in a row.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / STEP_SECONDS)}

    def __init__(
        self,
        config: EnvConfig | None = None,
        split: Literal["train", "held_out"] = "train",
        *,
        log_dir: Path | None = None,
        name: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is not supported; there is rgb_array")
        self.config = config or EnvConfig()
        self.split, self.render_mode = split, render_mode
        self.observation_space: gymnasium.Space[Any] = obs.observation_space(self.config)
        self.action_space: gymnasium.Space[Any] = obs.action_space()
        self.incidents: list[Incident] = []
        """Everything of the kind since this environment was made."""
        self.restarts = 0
        """How often worker and server were replaced."""
        self._temporary = log_dir is None
        self.log_dir = Path(tempfile.mkdtemp(prefix="av_td3_")) if log_dir is None else Path(log_dir)
        self._name = name or split
        self._consecutive = 0
        self._crew: _Crew | None = None
        self._state: Literal["needs reset", "ready", "stepping"] = "needs reset"
        self._lost: _FaultError | None = None  # a request that could not even be sent
        self._shown: protocol.Slot | None = None
        self._info: dict[str, Any] = {}
        self._recording = False
        self._routes: int | None = None
        self._closed = False
        # Also when nobody calls close(): at garbage collection and at the interpreter's end.
        self._finalizer = weakref.finalize(
            self, _clean_up, self._holder_of_crew(), self.log_dir if self._temporary else None
        )

    def _holder_of_crew(self) -> list[_Crew]:
        self._holder: list[_Crew] = []
        return self._holder

    # Gymnasium's interface

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; starts or replaces worker and server where needed.

        Without a seed the episode's is drawn from this environment's generator, so a replaced
        worker does not change which routes follow.
        """
        super().reset(seed=seed)
        self._check_open()
        if seed is None:
            seed = int(self.np_random.integers(2**63))
        if self._state == "stepping":
            self._discard("reset during a step")
        self._state = "needs reset"
        choices = dict(options) if options else None
        while True:
            try:
                crew = self._ensure_crew()
                crew.ask({"do": "reset", "seed": seed, "options": choices})
                answer = crew.answer(time.monotonic() + self.config.simulator.reset_deadline_s)
                break
            except _FaultError as fault:
                self._record_fault("reset" if self._crew is not None else "start", fault, "replace and retry")
        self._recording = bool((choices or {}).get("record", self.render_mode is not None))
        self._shown = crew.memory.slots[answer["slot"]]
        self._info = answer["info"]
        self._state = "ready"
        return self._observation(), self._info

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One environment step; see the class for what happens when the simulator fails."""
        self.send(action)
        return self.receive()

    def send(self, action: Any) -> None:
        """First half of ``step``: hand the action over and return at once.

        Raises:
            InvalidActionError: (a ValueError) the action has another shape than (2,), or is not finite.
        """
        self._check_open()
        steer, pedal = obs.check_action(action)
        if self._state != "ready" or self._crew is None:
            raise gymnasium.error.ResetNeeded(
                "call reset() before step()" if self._state != "stepping" else "receive() has to come first"
            )
        self._lost = None
        try:
            self._crew.ask({"do": "step", "steer": float(steer), "pedal": float(pedal)})
        except _FaultError as fault:
            self._lost = fault
        self._deadline = time.monotonic() + self.config.simulator.step_deadline_s
        self._state = "stepping"

    def receive(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Second half of ``step``: wait for the result.

        The deadline counts from here if the learner came back late: only waiting is judged.
        """
        if self._state != "stepping" or self._crew is None:
            raise gymnasium.error.ResetNeeded("send() has to come first")
        crew = self._crew
        try:
            if self._lost is not None:
                raise self._lost
            grace = min(1.0, self.config.simulator.step_deadline_s)
            answer = crew.answer(max(self._deadline, time.monotonic() + grace))
        except _FaultError as fault:
            self._record_fault("step", fault, "episode truncated; replaced at the next reset")
            self._state = "needs reset"
            return self._observation(), 0.0, False, True, self._fault_info(fault)
        self._consecutive = 0
        self._shown = crew.memory.slots[answer["slot"]]
        self._info = answer["info"]
        ended = answer["terminated"] or answer["truncated"]
        self._state = "needs reset" if ended else "ready"
        return self._observation(), answer["reward"], answer["terminated"], answer["truncated"], self._info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """(270, 480, 3) RGB picture of the present frame; needs render_mode and a recorded episode."""
        if self.render_mode is None:
            return None
        if not self._recording or self._shown is None:
            raise RuntimeError("this episode is not recorded: reset with options={'record': True}")
        return self._shown.video.copy()

    def close(self) -> None:
        """End worker and server; nothing is left behind.  Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._state = "needs reset"
        self._finalizer()

    @property
    def route_count(self) -> int:
        """How many routes the split has; starts the simulator if it does not run yet."""
        while self._routes is None:
            try:
                self._ensure_crew()
            except _FaultError as fault:
                self._record_fault("start", fault, "replace and retry")
        return self._routes

    # Inside

    def _check_open(self) -> None:
        if self._closed:
            raise gymnasium.error.ClosedEnvironmentError("the environment was closed")

    def _ensure_crew(self) -> _Crew:
        if self._crew is None:
            if self._consecutive:
                time.sleep(min(LONGEST_BACK_OFF, 0.25 * 2 ** (self._consecutive - 1)))
            try:
                self._crew = _Crew(self.config, self.split, self.render_mode, self.log_dir, self._name)
            except SimulatorUnreachableError as error:
                if self._routes is None:
                    raise
                raise _FaultError("error", str(error)) from None  # it was there: somebody may restart it
            self._holder[:] = [self._crew]
            self._routes = self._crew.routes
            if any(incident.kind != PORT_TAKEN for incident in self.incidents):
                self.restarts += 1
            self._report_port(self._crew)
        return self._crew

    def _report_port(self, crew: _Crew) -> None:
        simulator = self.config.simulator
        if crew.port == crew.wanted_port or not simulator.npc or simulator.traffic != "traffic_manager":
            return
        self._write_incident(
            Incident(
                time=_now(),
                during="start",
                kind=PORT_TAKEN,
                text=f"something listens on port {crew.wanted_port}, the Traffic Manager's",
                action=f"took port {crew.port}",
                consecutive=0,
            )
        )

    def _write_incident(self, incident: Incident) -> None:
        self.incidents.append(incident)
        with contextlib.suppress(OSError):  # a full disk must not end training
            self.log_dir.mkdir(parents=True, exist_ok=True)
            with (self.log_dir / "incidents.jsonl").open("a") as file:
                file.write(json.dumps({"env": self._name, **asdict(incident)}) + "\n")

    def _discard(self, reason: str) -> None:
        if self._crew is not None:
            self._crew.kill()
            self._crew = None
            self._holder.clear()

    def _record_fault(self, during: str, fault: _FaultError, action: str) -> None:
        self._discard(fault.text)
        self._consecutive += 1
        too_often = self._consecutive > self.config.simulator.max_consecutive_restarts
        self._write_incident(
            Incident(
                time=_now(),
                during=during,
                kind=fault.kind,
                text=fault.text,
                action="give up" if too_often else action,
                consecutive=self._consecutive,
                output=fault.output,
            )
        )
        if too_often:
            raise SupervisionError(
                f"the simulator failed {self._consecutive} times in a row, the last time during {during}: "
                f"{fault.text}. Logs: {self.log_dir}"
            )

    def _fault_info(self, fault: _FaultError) -> dict[str, Any]:
        return {
            **self._info,
            "distance_m": 0.0,
            "reward_components": no_reward(),
            "termination": SIMULATOR_FAULT,
            "fault": fault.text,
        }

    def _observation(self) -> Observation:
        """A copy of the last whole observation: the worker goes on writing in the shared memory."""
        assert self._shown is not None
        return {"image": self._shown.image.copy(), "vector": self._shown.vector.copy()}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _clean_up(holder: list[_Crew], folder: Path | None) -> None:
    for crew in holder:
        crew.close()
    holder.clear()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
