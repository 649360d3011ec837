"""Which agent is meant: one of a run directory, or one that was made ready to be passed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av_td3.agent.td3 import TD3
from av_td3.config import Config
from av_td3.training import checkpoint, shipped
from av_td3.training.agents import Action, Observation, make_agent, policy_of
from av_td3.training.run_directory import RunDirectory, RunError
from av_td3.training.shipped import ShippedAgentError


@dataclass(frozen=True)
class AgentSource:
    """An agent that can be driven.

    ``config`` is the one that it was trained with; only what concerns its networks must stay as it is.
    """

    title: str
    config: Config
    folder: Path
    """Of the checkpoint, or of the shipped agent; the file of a policy."""
    run: RunDirectory | None
    """None for a shipped agent."""
    step: int
    sha256: str
    """Of the file of its weights."""
    averaged: bool
    problems: tuple[str, ...]
    """Checkpoints that were skipped, and why."""
    _fill: Callable[[TD3], None]

    def load(self, config: Config | None = None) -> TD3:
        """An agent with the weights of the policy, on the device that the configuration names.

        Its critic is a fresh one.

        Raises:
            CheckpointError, ShippedAgentError: the weights are of another architecture.
        """
        agent = make_agent(config or self.config)
        self._fill(agent)
        return agent

    def policy(self, agent: TD3) -> Callable[[Observation], Action]:
        """The deterministic policy that an evaluation drives with."""
        return policy_of(agent, self.averaged)

    def described(self) -> dict[str, Any]:
        """What an evaluation's ``conditions`` say about the agent."""
        return {
            "agent": self.title,
            "run": str(self.run.path) if self.run is not None else None,
            "injected_fault": self.run.injected_fault() if self.run is not None else None,
            "checkpoint": str(self.folder),
            "step": self.step,
            "agent_sha256": self.sha256,
        }


def find_agent(name: str | Path, which: str | None = None) -> AgentSource:
    """The agent of a run directory, of the package, or of a folder that ``ship_agent`` wrote.

    Args:
        name: a run directory, the name of a shipped agent, or the path of its folder.
        which: the checkpoint of a run: ``best``, a step or a path; None for the newest.

    Raises:
        ShippedAgentError: there is neither; the message lists the names that there are.
        RunError: ``which`` was given for a shipped agent, or the run cannot be read.
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    path = Path(name)
    if (path / "config.yaml").is_file() and not shipped.is_agent(path):
        return _of_run(RunDirectory.open(path), which)
    if path.is_dir() and not shipped.is_agent(path) and str(name) not in shipped.names():
        RunDirectory.open(path)  # says what is missing
    found = shipped.find(str(name))
    if which is not None:
        raise RunError(f"{found.name} is a shipped agent: it has no checkpoints to choose from")
    return AgentSource(
        found.name,
        found.config,
        found.folder,
        None,
        found.figures["training"]["steps"],
        found.figures["policy_sha256"],
        False,
        (),
        found.load_into,
    )


def _of_run(run: RunDirectory, which: str | None) -> AgentSource:
    config = run.config()
    found, state, problems = checkpoint.find(run.checkpoints, which)

    def fill(agent: TD3) -> None:
        checkpoint.load_policy(found, agent)

    return AgentSource(
        found.stem,
        config,
        found,
        run,
        state["step"],
        state["files"]["agent.safetensors"],
        config.evaluation.averaged,
        tuple(problems),
        fill,
    )


__all__ = ["AgentSource", "ShippedAgentError", "find_agent"]
