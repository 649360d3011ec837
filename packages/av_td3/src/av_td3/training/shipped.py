"""Trained agents as small folders: the policy alone, how it was made, and how well it drives.

A folder ``NAME/`` holds four files, and loading them executes nothing:

``policy.safetensors``
    The actor and its encoder in float32: ``actor/PARAMETER`` and ``encoder/PARAMETER``.  These are the
    networks that an evaluation of the run drives with, so the target networks where the run has
    ``evaluation.averaged``.  A critic, targets and optimisers are needed in training only.
``config.yaml``
    The whole configuration of the run.
``figures.json``
    What it was trained on and what it reached: see :class:`Figures`.
``README.md``
    The model card, made from the other two.

The package brings agents along below ``av_td3/agents``; a folder elsewhere is used by its path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypedDict

import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor

from av_td3.agent.td3 import TD3
from av_td3.config import Config, ConfigError, config_from_dict
from av_td3.evaluation.conditions import PLACES, other_settings
from av_td3.training import tensor_files
from av_td3.training.run_directory import write_atomically
from av_td3.training.tensor_files import CheckpointError

FORMAT = 1
POLICY, CONFIG, FIGURES, CARD = "policy.safetensors", "config.yaml", "figures.json", "README.md"
FILM = "film.mp4"
"""A film of it, where there is one."""
MINICARLA = "minicarla"
"""How conditions begin the name of the bundled simulator."""
BUNDLED = Path(str(resources.files("av_td3"))) / "agents"


class _Training(TypedDict):
    steps: int
    updates: int
    minutes: float | None
    """Wall-clock time of the run; None where it was not recorded."""
    preset: str | None
    seed: int
    map: str
    npc: int
    hardware: dict[str, Any]
    versions: dict[str, str | None]
    code_sha256: str | None
    checkpoint: str
    checkpoint_sha256: str
    """Of ``agent.safetensors``: evaluations of the run name the agent that they drove by it."""


class Training(_Training, total=False):
    """How an agent came to be.  Agents that were made by earlier versions have no command and no commit."""

    command: list[str]
    commit: str | None
    """Of the code; None outside a repository."""


class Measured(TypedDict):
    """One evaluation of the agent, without its single episodes."""

    conditions: dict[str, Any]
    confidence: float
    summary: dict[str, dict[str, Any]]
    """By metric: estimate, low, high, n, method."""
    terminations: dict[str, int]


class Figures(TypedDict):
    """``figures.json``."""

    format: int
    name: str
    about: str
    """One sentence: what it is."""
    limits: list[str]
    """What it cannot do, one sentence each."""
    averaged: bool
    policy_sha256: str
    training: Training
    evaluations: list[Measured]


class ShippedAgentError(RuntimeError):
    """There is no such agent, or its folder is damaged; the message says which there are."""


@dataclass(frozen=True)
class ShippedAgent:
    """A folder of an agent that was opened."""

    folder: Path
    config: Config
    figures: Figures

    @property
    def name(self) -> str:
        return self.figures["name"]

    def load_into(self, agent: TD3) -> None:
        """Fill the policy of an agent of this configuration; its critic keeps the weights it has.

        Raises:
            ShippedAgentError: the weights are of another architecture.
        """
        try:
            tensors = safetensors.torch.load_file(self.folder / POLICY, device=str(agent.device))
        except (OSError, safetensors.SafetensorError) as error:
            raise ShippedAgentError(f"cannot read {self.folder / POLICY}: {error}") from None
        try:
            tensor_files.fill(policy_tensors(agent), tensors, self.folder / POLICY)
        except CheckpointError as error:
            raise ShippedAgentError(str(error)) from None


def names() -> list[str]:
    """Names of the agents that the package brings along."""
    if not BUNDLED.is_dir():
        return []
    return sorted(folder.name for folder in BUNDLED.iterdir() if is_agent(folder))


def is_agent(folder: Path) -> bool:
    """Whether this is the folder of an agent."""
    return (folder / POLICY).is_file() and (folder / FIGURES).is_file()


def find(name: str) -> ShippedAgent:
    """An agent by its name, or by the path of its folder.

    Raises:
        ShippedAgentError: there is none; the message lists those that the package brings along.
    """
    there = names()
    if name in there:
        return read(BUNDLED / name)
    if is_agent(Path(name)):
        return read(Path(name))
    known = f"the package brings along: {', '.join(there)}" if there else "the package brings none along"
    raise ShippedAgentError(
        f"{name!r} is neither an agent nor a run directory: {known}; "
        "give one of these, or the folder of a run of `av-td3 train`"
    )


def read(folder: Path) -> ShippedAgent:
    """Open the folder of an agent.

    Raises:
        ShippedAgentError: a file is missing, damaged or of another format.
    """
    try:
        figures: Figures = json.loads((folder / FIGURES).read_text())
        if figures["format"] != FORMAT:
            raise ShippedAgentError(f"{folder} has format {figures['format']}; this version reads {FORMAT}")
        config = _elsewhere(config_from_dict(yaml.safe_load((folder / CONFIG).read_text())))
        sha256 = hashlib.sha256((folder / POLICY).read_bytes()).hexdigest()
        if sha256 != figures["policy_sha256"]:
            raise ShippedAgentError(f"{folder / POLICY} is damaged (its hash differs)")
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, ConfigError) as error:
        raise ShippedAgentError(f"{folder} is not a readable agent: {error}") from None
    return ShippedAgent(folder, config, figures)


def policy_tensors(agent: TD3, averaged: bool = False) -> dict[str, Tensor]:
    """The weights with which an agent drives, as ``actor/...`` and ``encoder/...``."""
    actor = agent.target_actor if averaged else agent.actor
    encoder = agent.target_actor_encoder if averaged else agent.actor_encoder
    return {
        f"{name}/{key}": tensor
        for name, network in (("actor", actor), ("encoder", encoder))
        for key, tensor in network.state_dict().items()
    }


def write(
    folder: Path,
    agent: TD3,
    config: Config,
    training: Training,
    *,
    about: str,
    limits: list[str],
    evaluations: list[Measured],
) -> ShippedAgent:
    """Make the folder of an agent; its name is the folder's.  Files of the same names are replaced.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    averaged = config.evaluation.averaged
    plain = {
        key: tensor.detach().to("cpu", torch.float32).contiguous()
        for key, tensor in policy_tensors(agent, averaged).items()
    }
    data = safetensors.torch.save(plain)
    figures: Figures = {
        "format": FORMAT,
        "name": folder.name,
        "about": about,
        "limits": limits,
        "averaged": averaged,
        "policy_sha256": hashlib.sha256(data).hexdigest(),
        "training": training,
        "evaluations": evaluations,
    }
    made = ShippedAgent(folder, _elsewhere(config), figures)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / POLICY).write_bytes(data)
        (folder / CONFIG).write_text(made.config.to_yaml())
        write_figures(made)
    except OSError as error:
        raise CheckpointError(f"cannot write the agent {folder}: {error}") from None
    return made


def write_figures(agent: ShippedAgent) -> None:
    """Write ``figures.json`` and the model card that follows from it."""
    write_atomically(agent.folder / FIGURES, json.dumps(agent.figures, indent=1, allow_nan=False) + "\n")
    write_atomically(agent.folder / CARD, card(agent))


def measured(document: Mapping[str, Any], agent: str = "trained") -> Measured:
    """One agent of an evaluation's JSON file, without its single episodes and the paths of its machine.

    Raises:
        ShippedAgentError: the document is no evaluation, or has no agent of that name.
    """
    try:
        one = document["agents"][agent]
        conditions = {k: v for k, v in document["conditions"].items() if k not in ("run", "checkpoint")}
        conditions["map"] = Path(str(conditions["map"])).name
        conditions["settings"] = other_settings(conditions)
        if not str(conditions.get("simulator", MINICARLA)).startswith(MINICARLA):
            conditions["simulator"] = "a CARLA server"
        return {
            "conditions": conditions,
            "confidence": float(document["confidence"]),
            "summary": dict(one["summary"]),
            "terminations": dict(one["terminations"]),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ShippedAgentError(f"this is no evaluation of a {agent} agent: {error} is missing") from None


def _elsewhere(config: Config) -> Config:
    """The configuration without what belongs to the machine it was trained on.

    It is left out when a folder is written and, since the folder may be a stranger's, when it is read:
    ``simulator.command`` is a program that would be run, and ``simulator.address`` a machine to connect to.
    """
    tree = config.model_dump()
    for env in (tree["env"], tree["evaluation"]["env"]):
        simulator = env.get("simulator", {})
        simulator |= {key: None for key in ("address", "command", "faults") if key in simulator}
    tree["train"] |= {"device": "auto", "threads": None, "loggers": ()}
    return config_from_dict(tree)


# ---------------------------------------------------------------------- the model card

_ROWS = (
    ("route_completion", "route done", 100, "%"),
    ("success_rate", "success", 100, "%"),
    ("driving_score", "driving score (Leaderboard 2.0)", 100, ""),
    ("driving_score_2_1", "driving score (Leaderboard 2.1)", 100, ""),
    ("clean_success_rate", "success without a collision", 100, "%"),
    ("collisions_per_km", "collisions", 1, "/km"),
    ("red_lights_per_km", "red lights run", 1, "/km"),
    ("lane_invasions_per_km", "lane markings touched", 1, "/km"),
    ("lateral_deviation_m", "off the lane's centre", 1, "m"),
    ("jerk", "jerk", 1, "m/s³"),
    ("comfort_share", "time within the comfort bounds", 100, "%"),
    ("speed_kmh", "speed", 1, "km/h"),
)


def card(
    agent: ShippedAgent,
    *,
    weights: int | None = None,
    commands: Sequence[str] | None = None,
    film: str | None = None,
) -> str:
    """The model card, Markdown with the YAML head that model hubs read.

    Args:
        agent: what it is about.
        weights: how many the policy has; None: counted in the folder's file.
        commands: how to use it; None: those for an agent that is known by its name.
        film: where it lies, seen from the card; None: :data:`FILM` where it is in the folder.
    """
    figures, config, training = agent.figures, agent.config, agent.figures["training"]
    head: dict[str, Any] = {
        "license": "apache-2.0",
        "library_name": "av-td3",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "autonomous-driving", "carla", "td3"],
        "model-index": [{"name": agent.name, "results": _results(figures["evaluations"])}],
    }
    if not figures["evaluations"]:
        del head["model-index"]
    minutes = training["minutes"]
    took = "" if minutes is None else f" in {minutes:.0f} minutes"
    machine = ", ".join(
        str(part)
        for part in (
            training["hardware"].get("processor"),
            f"{training['hardware'].get('cores')} cores",
            *training["hardware"].get("gpus", ()),
        )
        if part
    )
    if weights is None:
        weights = sum(t.numel() for t in safetensors.torch.load_file(agent.folder / POLICY).values())
    if commands is None:
        commands = [f"av-td3 drive --agent {agent.name}", f"av-td3 evaluate {agent.name}"]
    if film is None and (agent.folder / FILM).is_file():
        film = FILM
    command, commit = training.get("command"), training.get("commit")
    camera = config.env.camera
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False).rstrip(),
        "---",
        "",
        f"# {agent.name}",
        "",
        figures["about"],
        "",
        *(f"    {line}" for line in commands),
        "",
        *((f"A film of it: [{film}]({film}).", "") if film else ()),
        "## What it is",
        "",
        f"- A TD3 policy: {weights:,} weights, {4 * weights / 1e6:.1f} MB. "
        + ("The moving average of the policies of the run." if figures["averaged"] else "The last policy."),
        f"- In: {camera.frame_stack} grey pictures of {camera.size} x {camera.size} from a front camera, and "
        f"a vector of {agent.config.env.visible_size} numbers. Out: steer, and throttle or brake.",
        f"- Encoder: {config.agent.encoder}, {config.agent.encoder_net}, "
        f"{config.agent.feature_size} features.",
        "",
        "## How it was trained",
        "",
        f"- {training['steps']:,} steps and {training['updates']:,} updates{took} ({machine}).",
        f"- Map {training['map']}, {training['npc']} other vehicles, seed {training['seed']}"
        + (f", preset `{training['preset']}`." if training["preset"] else "."),
        f"- The first {config.exploration.warmup_steps:,} steps were driven by: "
        f"{config.exploration.warmup_driver}.",
        *([f"- The command: `{' '.join(command)}`"] if command else ()),
        *([f"- The code: commit {commit}."] if commit else ()),
        f"- `{CONFIG}` has every setting. Train another: `av-td3 train --config {CONFIG}`.",
        "",
        "## How well it drives",
        "",
        *_figures_table(figures["evaluations"]),
        "",
        "## Limits",
        "",
        *(f"- {limit}" for limit in figures["limits"]),
        "- It was trained in simulation for simulation. It must not drive a real vehicle.",
        "",
        "## Versions",
        "",
        ", ".join(f"{name} {version}" for name, version in training["versions"].items() if version) + ".",
        "",
    ]
    return "\n".join(lines)


def _results(evaluations: list[Measured]) -> list[dict[str, Any]]:
    """The evaluations as model hubs list them."""
    return [
        {
            "task": {"type": "reinforcement-learning", "name": "driving"},
            "dataset": {"type": "av_td3/Driving-v0", "name": _title(e["conditions"])},
            "metrics": [
                {"type": metric, "name": title, "value": float(f"{scale * interval['estimate']:.4g}")}
                for metric, title, scale, _ in _ROWS
                if (interval := e["summary"].get(metric)) is not None and interval["estimate"] is not None
            ],
        }
        for e in evaluations
    ]


def _figures_table(evaluations: list[Measured]) -> list[str]:
    if not evaluations:
        return ["It was not evaluated."]
    titles = [_title(e["conditions"]) for e in evaluations]
    lines = [f"| | {' | '.join(titles)} |", f"| --- |{' --- |' * len(titles)}"]
    for metric, title, scale, unit in _ROWS:
        if any(metric in e["summary"] for e in evaluations):
            cells = (_cell(e["summary"].get(metric), scale) for e in evaluations)
            lines.append(f"| {title}{f', {unit}' if unit else ''} | {' | '.join(cells)} |")
    counts = sorted({e["conditions"]["episodes"] for e in evaluations})
    confidence = evaluations[0]["confidence"]
    lines += [
        "",
        f"{' / '.join(map(str, counts))} held-out episodes each, with {100 * confidence:.0f} % intervals "
        "over episodes. What each figure means: docs/evaluation.md of the project.",
    ]
    return lines


def _title(conditions: Mapping[str, Any]) -> str:
    """Map and traffic of an evaluation."""
    name = Path(str(conditions["map"])).stem
    wanted = conditions["traffic"]["wanted"]
    picture, weather = conditions.get("picture", "camera"), conditions.get("weather", "fixed")
    places = PLACES[conditions["traffic"].get("placement", "anywhere")] if wanted else ""
    title = f"{name}, {wanted} vehicles{places}"
    title += "" if picture == "camera" else f", picture {picture}"
    return title + ("" if weather == "fixed" else f", weather {weather.replace('_', '-')}")


def _cell(interval: Mapping[str, Any] | None, scale: float) -> str:
    if interval is None or interval["estimate"] is None:
        return "-"

    def text(x: float | None) -> str:
        return "-" if x is None else f"{scale * x:.3g}"

    cell = text(interval["estimate"])
    if interval["low"] is None and interval["high"] is None:
        return cell
    return f"{cell} [{text(interval['low'])}, {text(interval['high'])}]"
