"""Several driving environments side by side: they work at once, and none waits for one that has failed.

A round of the fleet: ``begin`` an episode or ``send`` an action for each environment that has something to
do, do other work meanwhile, then ``collect`` what they answer.  ``collect`` waits for all of them, in order
that the same seed gives the same rounds.  It does not wait for an environment whose simulator has failed
and is being replaced, nor any longer for one that is late; their answers come in a later round.

Every call is made by one thread.  What may take long, a reset for instance, runs in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_ends
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from av_td3.config import EnvConfig
from av_td3.driving.termination import SIMULATOR_FAULT
from av_td3.supervision.supervised import SupervisionError

PATIENCE_S = 5.0
"""How long a round waits for a step or a reset.  Beyond it the other environments go on."""
CLOSE_PATIENCE_S = 2.0
"""How long ``close`` waits for a simulator that is just being started: minicarla is up by then.  CARLA, which
takes a minute, is given up.  Docker kills what has not ended 10 s after SIGTERM, and a round may have taken
``PATIENCE_S`` of these."""
_SLICE_S = 0.1
"""While no environment can go on, the caller gets to look after a stop request this often."""

Observation: TypeAlias = Mapping[str, NDArray[Any]]
Action: TypeAlias = NDArray[np.float32]


def environment(config: EnvConfig, number: int, maps: Sequence[str] = ()) -> EnvConfig:
    """The configuration of one environment of several: each has a Traffic Manager, and so a port, of its own.

    The port after the first is left to evaluation.

    Args:
        config: what they have in common.
        number: of the environment, from 0.
        maps: of the environments, in turn; empty: the configuration's map.
    """
    port = config.simulator.traffic_manager_port + number + (number > 0)
    map_name = maps[number % len(maps)] if maps else config.simulator.map
    simulator = config.simulator.model_copy(update={"traffic_manager_port": port, "map": map_name})
    return config.model_copy(update={"simulator": simulator})


class DrivingEnv(Protocol):
    """What a fleet needs of an environment; ``SupervisedEnv`` has it."""

    @property
    def restarts(self) -> int:
        """How often the simulator was replaced."""

    @property
    def downtime_s(self) -> float:
        """Seconds between failures and the first observation after them, all together."""

    @property
    def incidents(self) -> Sized:
        """Failures that were survived, and ports that had to be changed."""

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]: ...

    def send(self, action: Action) -> None: ...

    def awaited(self) -> list[Any]:
        """After ``send``, what ``multiprocessing.connection.wait`` takes: ``receive`` returns at once when
        one of these is ready, or when there are none."""

    def receive(self) -> tuple[Observation, float, bool, bool, dict[str, Any]]: ...

    def abort(self) -> None:
        """From another thread: end what the environment waits for; it can only be closed then."""

    def close(self) -> None: ...


class Started(NamedTuple):
    """An episode began."""

    observation: Observation
    info: dict[str, Any]


class Stepped(NamedTuple):
    """A step was made, or failed: ``info["termination"]`` says so."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class Late(NamedTuple):
    """The environment has not answered in time; the others go on without it."""

    seconds: float


class Lost(NamedTuple):
    """The environment failed too often in a row, and is out of the fleet."""

    error: SupervisionError


Event: TypeAlias = Started | Stepped | Late | Lost


@dataclass
class _Job:
    """What another thread waits for."""

    future: Future[Event]
    is_step: bool
    waited_for: bool
    """Whether a round waits for it."""


class Fleet:
    """N environments, numbered from 0."""

    def __init__(self, envs: Sequence[DrivingEnv]) -> None:
        self.envs = list(envs)
        self._stepping: set[int] = set()
        """Those that were sent an action whose outcome is awaited in this thread."""
        self._jobs: dict[int, _Job] = {}
        self._failed: set[int] = set()
        """Those whose last step failed: the next reset replaces their simulator."""
        self._been_up: set[int] = set()
        """Those that have begun an episode before: a first start takes its time."""
        self._lost: set[int] = set()

    def __len__(self) -> int:
        return len(self.envs)

    @property
    def restarts(self) -> int:
        """How often a simulator was replaced."""
        return sum(env.restarts for env in self.envs)

    @property
    def downtime_s(self) -> float:
        """For how many seconds simulators were away after failures, those of all environments added."""
        return sum(env.downtime_s for env in self.envs)

    @property
    def incidents(self) -> int:
        """Failures that were survived, and ports that had to be changed."""
        return sum(len(env.incidents) for env in self.envs)

    def at_rest(self, env: int) -> bool:
        """Whether nothing is expected of it, so that it can be sent an action or begin an episode."""
        return env not in self._stepping and env not in self._jobs and env not in self._lost

    @property
    def is_stepping(self) -> bool:
        """Whether the outcome of a step is still to come."""
        return bool(self._stepping) or any(job.is_step for job in self._jobs.values())

    # ------------------------------------------------------------------ a round

    def begin(self, env: int, seed: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Begin an episode; :meth:`collect` tells when it has begun."""
        reset = self.envs[env].reset
        given: dict[str, Any] = {"seed": seed} if options is None else {"seed": seed, "options": options}
        self._start(env, lambda: Started(*reset(**given)), is_step=False, waited_for=env not in self._failed)

    def send(self, env: int, action: Action) -> None:
        """Hand an action over; :meth:`collect` tells of the outcome.

        Raises:
            InvalidActionError: it is not finite, or no action.
        """
        self.envs[env].send(action)
        self._stepping.add(env)

    def collect(self) -> dict[int, Event]:
        """What has become of what was begun and sent, by environment, in the order of their numbers.

        Empty when after a tenth of a second no environment can go on.  Environments that start for the first
        time begin together, however long that takes.

        Raises:
            SetupError: a simulator cannot serve this configuration.
            SupervisionError: no environment is left.
        """
        events: dict[int, Event] = {}
        deadline = time.monotonic() + PATIENCE_S
        for env in self._answering(deadline):
            self._stepping.discard(env)
            events[env] = self._noted(env, Stepped(*self.envs[env].receive()))
        for env in sorted(self._stepping):
            self._stepping.discard(env)
            self._start(env, self._receiving(env), is_step=True, waited_for=False)
            events[env] = Late(PATIENCE_S)

        awaited = {env: job.future for env, job in self._jobs.items() if job.waited_for}
        first = [future for env, future in awaited.items() if env not in self._been_up]
        wait_for(first, _SLICE_S)
        if not all(future.done() for future in first):
            return events
        wait_for(awaited.values(), max(0.0, deadline - time.monotonic()))
        jobs = dict(self._jobs)
        if not events and not any(job.future.done() for job in jobs.values()):
            wait_for([job.future for job in jobs.values()], _SLICE_S, FIRST_COMPLETED)
        for env, job in jobs.items():
            if job.future.done():
                del self._jobs[env]
                events[env] = self._outcome(env, job.future)
            elif job.waited_for:
                job.waited_for = False
                events[env] = Late(PATIENCE_S)
        return dict(sorted(events.items()))

    def _answering(self, deadline: float) -> list[int]:
        """Wait for the outcomes of steps; those environments that have answered, in order."""
        ends = {env: self.envs[env].awaited() for env in sorted(self._stepping)}
        answered = {env for env in ends if not ends[env]}
        while len(answered) < len(ends):
            silent = [end for env in ends if env not in answered for end in ends[env]]
            ready = wait_for_ends(silent, max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            answered |= {env for env in ends if any(end in ready for end in ends[env])}
        return sorted(answered)

    def _receiving(self, env: int) -> Callable[[], Event]:
        receive = self.envs[env].receive
        return lambda: Stepped(*receive())

    def _outcome(self, env: int, future: Future[Event]) -> Event:
        try:
            return self._noted(env, future.result())
        except SupervisionError as error:
            self._lost.add(env)
            if len(self._lost) == len(self.envs):
                raise
            return Lost(error)

    def _noted(self, env: int, event: Event) -> Event:
        if isinstance(event, Started):
            self._been_up.add(env)
            self._failed.discard(env)
        elif isinstance(event, Stepped) and event.info.get("termination") == SIMULATOR_FAULT:
            self._failed.add(env)
        return event

    # ------------------------------------------------------------------ threads

    def _start(self, env: int, work: Callable[[], Event], *, is_step: bool, waited_for: bool) -> None:
        future: Future[Event] = Future()
        _in_thread(future, work, f"environment {env}")
        self._jobs[env] = _Job(future, is_step, waited_for)

    def close(self) -> None:
        """Close all environments; what they wait for is given up."""
        for env, job in self._jobs.items():
            if not job.future.done():
                self.envs[env].abort()
        wait_for([job.future for job in self._jobs.values()], CLOSE_PATIENCE_S)
        closing: list[Future[None]] = []
        for number, env_ in enumerate(self.envs):
            closing.append(Future())
            _in_thread(closing[-1], env_.close, f"end of environment {number}")
        wait_for(closing)
        for closed in closing:
            closed.result()


def _in_thread(job: Future[Any], work: Callable[[], Any], name: str) -> None:
    """Run ``work`` in a thread that does not keep the interpreter from ending."""

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            job.set_exception(error)
        else:
            job.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
