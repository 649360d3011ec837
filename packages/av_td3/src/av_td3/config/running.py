"""``train`` and ``evaluation``: the run, and how it is judged."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from av_td3.config.section import Section

TrackerName = Literal["wandb", "mlflow"]
"""What ``train.loggers`` may name."""
Pictures = Literal["camera", "black", "frozen", "shuffled", "other"]
"""What an agent gets to see.

``camera``: what its camera shows.  ``black``: nothing.  ``frozen``: the first picture of the episode, all
the time.  ``shuffled``: at each step the pictures of a random earlier step of the episode, so each picture
is a real one of this drive, at the wrong time.  ``other``: the pictures of the episode before, step by
step, as if they were of this one.
"""


class TrainConfig(Section):
    """The training run."""

    steps: int = Field(default=100_000, ge=1)
    """Environment steps of the whole run."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random: networks, exploration, replay, episodes."""
    envs: int = Field(default=1, ge=1, le=256)
    """Environments that are driven at once, each with a simulator of its own."""
    maps: list[str] = []
    """Maps of these environments, in turn: environment k drives on map k modulo their number.  Empty: all
    drive on ``env.simulator.map``, where evaluations drive in any case.  A run that goes on keeps its
    environments and maps."""
    updates_per_step: float = Field(default=1.0, gt=0, le=20)
    """Updates of the critic for each environment step; the steps of all environments count."""
    learning_starts: int = Field(default=1_000, ge=1)
    """Environment steps before the first update; also after a resume whose replay is collected anew."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes after which training ends and evaluates, however many steps were made.  null: no limit.  With
    ``agent.lr_decay_updates`` a limit may end the run before the rates have fallen."""
    log_interval: int = Field(default=100, ge=1)
    """Environment steps between two rows of scalars."""
    checkpoint_interval: int = Field(default=5_000, ge=1)
    """Environment steps between two checkpoints, which are written between episodes."""
    checkpoint_replay: bool = True
    """Whether a checkpoint holds the replay.  Without it a resumed run starts with an empty one, and updates
    nothing for ``learning_starts`` steps."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints are kept."""
    stop_on: Literal["never", "warning", "critical"] = "never"
    """End training when an alert reaches this level.  The checkpoint from before the alert is kept."""
    device: str = "auto"
    """Where torch computes: auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    threads: int | None = Field(default=None, ge=0)
    """Threads of one torch operation.  null: one a core.  On a machine that others use, take one fewer.
    auto (or 0): measured at the start and kept with the run; each simulator keeps a core to itself."""

    @field_validator("threads", mode="before")
    @classmethod
    def _threads_by_name(cls, threads: object) -> object:
        return 0 if threads == "auto" else threads

    loggers: tuple[TrackerName, ...] = ()
    """Who gets the figures beside TensorBoard's files: wandb, mlflow.  Each is an extra to install."""
    debug: bool = False
    """Show tracebacks instead of errors of one line."""


class EvaluationConfig(Section):
    """Evaluations on held-out routes."""

    env: dict[str, Any] = {}
    """Settings of ``env`` that evaluations change, such as ``{termination: {stuck_s: 30}}``: an agent may
    train in a harder scene, and with stricter ends, than those in which agents are compared.  What it sees
    and how it acts has to stay."""
    interval: int = Field(default=10_000, ge=1)
    """Environment steps between two evaluations while training."""
    episodes: int = Field(default=5, ge=1)
    """Held-out episodes of one evaluation while training."""
    final_episodes: int = Field(default=20, ge=2)
    """Held-out episodes of the evaluation at the end, and of ``av-td3 evaluate``."""
    baselines: bool = True
    """Whether the evaluation at the end also drives the untrained agent, random actions and the classical
    driver.  In a sweep they would be the same in every run."""
    video: bool = True
    """Whether the evaluation at the end films the agent."""
    seed: int = Field(default=1_000_000, ge=0)
    """Evaluation episode i has the seed ``seed + i``.  No training episode has one of these seeds."""
    averaged: bool = False
    """Evaluate the target policy, whose weights are the moving average (``agent.tau``) of the policy's.
    It drives more steadily than the policy of the last update.  false: the policy itself, as in TD3."""
    keep_best: bool = False
    """Evaluate at the end the best of the policies that were evaluated while training, not the last one (the
    idea of TD7's checkpoints, Fujimoto et al. 2023).  It is chosen on other seeds than it is judged on."""
