"""What the commands share: a run directory, a trainer, errors in one line."""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from av_td3.agent.replay import ReplayMemoryError, slot_bytes
from av_td3.commands.terminal import say
from av_td3.config import ACTION_SIZE, Config, ConfigError
from av_td3.driving.errors import DrivingError, SetupError
from av_td3.errors import BAD_INPUT, FAILED, UserError
from av_td3.evaluation import rollout
from av_td3.evaluation.figure import draw_routes
from av_td3.evaluation.metrics import scalars
from av_td3.supervision import fleet
from av_td3.supervision.crew import CrewMaker
from av_td3.supervision.launcher import check_map
from av_td3.supervision.memory import check_memory
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training import arithmetic, checkpoint, provenance, trackers
from av_td3.training.agents import image_shape, resolve_device
from av_td3.training.checkpoint import CheckpointError
from av_td3.training.fault_catalogue import InjectedFault
from av_td3.training.logger import Display
from av_td3.training.loop import Policy
from av_td3.training.run_directory import RunDirectory, RunError
from av_td3.training.shipped import ShippedAgentError
from av_td3.training.trainer import Trainer


class Ray(NamedTuple):
    """Where the simulators run, when that is a Ray cluster."""

    address: str
    """``host:port`` of its head, or ``local``."""
    needs: str
    """What each takes of its node, such as ``CPU=1``."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the simulators' memory is not (only) this machine's."""
        return self.address != "local"


Crews = Callable[[], CrewMaker | None]
"""For each environment: where its worker and its simulator run.  None: on this machine."""


@contextlib.contextmanager
def crews_on(ray: Ray | None, config: Config, console: Console) -> Iterator[Crews]:
    """Join the Ray cluster that simulators are to run on, if there is one.

    Raises:
        UserError, ConfigError: it cannot be, and nothing was started.
    """
    if ray is None:
        yield lambda: None
        return
    from av_td3.cluster import link

    needs, address = link.parse_needs(ray.needs), config.env.simulator.address
    if address is not None:
        raise ConfigError(
            f"--ray starts its simulators, and the CARLA server at {address} runs already: take one away. "
            "env.simulator.command starts CARLA servers"
        )
    with link.joined(ray.address, config.train.envs + 1, needs) as cluster:
        say(console, cluster.described())
        yield cluster.crews


def check_before_start(config: Config, ray: Ray | None = None) -> None:
    """What can be found out before anything is started or written.

    Args:
        config: of the run.
        ray: where the simulators run, unless on this machine.

    Raises:
        ConfigError: there is no such device, map or package, or no memory for so many environments.
    """
    resolve_device(config.train.device)
    trackers.check_installed(config)
    check_map(config.env.simulator)
    for number in range(len(config.train.maps)):
        check_map(fleet.environment(config.env, number, config.train.maps).simulator, "train.maps")
    replay = config.replay.capacity * slot_bytes(image_shape(config), config.env.vector_size, ACTION_SIZE)
    if ray is None or not ray.is_elsewhere:
        check_memory(config.env, config.train.envs, evaluation=True, replay_bytes=replay)


@contextlib.contextmanager
def new_run(path: Path, config: Config, fault: InjectedFault | None = None) -> Iterator[RunDirectory]:
    """Make a run directory and hold it; it is removed again if the run never makes a step.

    Raises:
        RunError: the path exists and is not empty, or cannot be written.
    """
    facts = provenance.collect()
    if fault is not None:
        facts["injected_fault"] = fault.id
    run = RunDirectory.create(path, config, facts)
    with run.lock():
        try:
            yield run
        finally:
            # The alert of a first step that failed is all there is to learn from: keep it.
            seen = run.status().get("step") or run.alerts.exists()
            if not checkpoint.available(run.checkpoints) and not seen:
                shutil.rmtree(path, ignore_errors=True)


def measured(config: Config, console: Console) -> Config:
    """The configuration with a choice in place of each ``auto``; says each choice and its reason.

    Every run is trained with what this returns, and stores it.

    Raises:
        ConfigError: the device does not exist, or has no graphs and they are asked for.
    """
    return arithmetic.measured(config, partial(say, console))


def going_on(run: RunDirectory, config: Config, console: Console) -> Config:
    """What a run goes on with, which is recorded, and so is the code.

    Whatever is still ``auto`` is measured.  The rest is looked at again: this machine may be another one than
    that where the run began.

    Raises:
        ConfigError: as for :func:`measured`.
    """
    config = measured(config, console)
    run.write_config(config)
    run.append_provenance(provenance.collect())
    return config


class ObservedPolicy:
    """A policy that tells of every step it drives, and remembers what the environment said."""

    def __init__(self, policy: rollout.Policy, tell: Callable[[str], None], episodes: int) -> None:
        """``tell`` takes a line such as ``route 2 of 5, step 140``, every ten steps."""
        self._policy, self._tell, self._episodes = policy, tell, episodes
        self._route = self._step = 0
        self.npc: set[int] = set()
        """How many other vehicles there were in the episodes."""

    def reset(self, seed: int) -> None:
        """An episode begins."""
        self._route, self._step = self._route + 1, 0
        reset = getattr(self._policy, "reset", None)
        if reset is not None:
            reset(seed)

    def watch(self, info: Mapping[str, Any]) -> None:
        """``info`` of a reset or a step."""
        if "npc" in info:
            self.npc.add(info["npc"])
        watch = getattr(self._policy, "watch", None)
        if watch is not None:
            watch(info)

    def __call__(self, observation: rollout.Observation) -> rollout.Action:
        if self._step % 10 == 0:
            # A simulator that failed, or a film of the worst episode, makes more drives than episodes.
            again = ", driven again" if self._route > self._episodes else ""
            route = min(self._route, self._episodes)
            self._tell(f"route {route} of {self._episodes}{again}, step {self._step}")
        self._step += 1
        return self._policy(observation)


def make_trainer(run: RunDirectory, config: Config, display: Display, crews: Crews = lambda: None) -> Trainer:
    """A trainer whose simulator is supervised, and whose evaluations have a simulator of their own."""

    made = itertools.count()

    def make_env() -> SupervisedEnv:
        """The next environment of ``train.envs``."""
        number = next(made)
        return SupervisedEnv(
            fleet.environment(config.env, number, config.train.maps),
            "train",
            log_dir=run.logs,
            name=f"train-{number}" if config.train.envs > 1 else "train",
            crews=crews(),
        )

    def evaluate(policy: Policy, step: int) -> dict[str, float]:
        settings = config.evaluation

        def tell(text: str) -> None:
            display.status(f"step {step}: evaluating on held-out routes: {text}")

        observed = ObservedPolicy(policy, tell, settings.episodes)
        with contextlib.closing(
            SupervisedEnv(config.for_evaluation().env, "held_out", log_dir=run.logs, crews=crews())
        ) as env:
            # The best is chosen on other drives than those that it is judged on at the end.
            seed = settings.seed + (settings.final_episodes if settings.keep_best else 0)
            result = rollout.evaluate(env, observed, settings.episodes, seed)
        draw_or_warn({f"step {step}": result}, run.evaluations / f"step_{step:09d}.png", display.message)
        return scalars(result)

    return Trainer(config, run, make_env, evaluate, display)


def draw_or_warn(
    evaluations: Mapping[str, rollout.Evaluation], file: Path, warn: Callable[[str], None], title: str = ""
) -> None:
    """Draw how far each route was driven; a picture that cannot be written is only worth a warning."""
    try:
        draw_routes(evaluations, file, title)
    except OSError as error:
        warn(f"warning: the evaluation's picture is missing: {error}")


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can do something about into a UserError: one line and an exit status."""
    try:
        yield
    except (SetupError, RunError, ReplayMemoryError, ShippedAgentError) as error:
        raise UserError(str(error), BAD_INPUT) from None
    except (DrivingError, CheckpointError, rollout.EvaluationError) as error:
        raise UserError(str(error), FAILED) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            place = error.filename or "run directory"
            raise UserError(f"the disk is full ({place}): free space and --resume", FAILED) from None
        if error.errno in (errno.EACCES, errno.EROFS):
            raise UserError(f"cannot write: {error}", FAILED) from None
        if error.errno in _NO_SUCH_PLACE and error.filename is not None:
            raise UserError(f"{error.filename}: {error.strerror}", BAD_INPUT) from None
        raise


_NO_SUCH_PLACE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
"""A path that a user gave, or one below it, leads nowhere: a file in place of a folder, say."""
