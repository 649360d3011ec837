"""``av-td3 export``: an agent as a folder for programs that have nothing of this project.

The folder is that of :mod:`av_td3.training.shipped` (safetensors, configuration, figures, model card), with
the policy as ONNX and a film beside them.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from av_td3.agent.td3 import TD3
from av_td3.commands.terminal import say
from av_td3.config import Config
from av_td3.errors import BAD_INPUT, FAILED, UserError
from av_td3.training import cards, shipped
from av_td3.training.agents import image_shape
from av_td3.training.sources import AgentSource, find_agent

ONNX = "policy.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""Largest difference between an action of the exported policy and the agent's, of a range of -1 to 1."""
OPSET = 18


def export(name: str | Path, folder: Path, which: str | None = None, onnx: bool = True) -> Path:
    """Write an agent into a new folder, and check that what was written gives the same actions.

    Args:
        name: a run directory, or the name or folder of an agent that was made ready to be passed on.
        folder: one that does not exist yet, or is empty.
        which: the checkpoint of a run: ``best``, a step or a path; None for
            the one that its final evaluation drove.
        onnx: also write the policy as ONNX, which needs the extra ``onnx``.

    Returns:
        The folder.

    Raises:
        UserError: the folder is not empty, a package is missing, or the exported policy acts otherwise.
        ShippedAgentError, RunError, CheckpointError: there is no such agent.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: choose another folder", BAD_INPUT)
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if onnx and missing:
        raise UserError(
            f"ONNX needs {', '.join(missing)}: pip install {' '.join(missing)}, or leave ONNX out with "
            "--no-onnx",
            BAD_INPUT,
        )
    source = cards.final_agent(name, which)
    config = _on_the_processor(source.config)
    agent = source.load(config)
    console = Console()
    say(console, f"agent: {source.folder}")
    made = _write(source, agent, folder)
    _check_written(made, agent, source.averaged, config)
    say(console, f"{folder / shipped.POLICY}: gives the same actions as the agent")
    if onnx:
        worst = write_onnx(agent, config, source.averaged, folder / ONNX)
        say(console, f"{folder / ONNX}: actions differ by {worst:.1e} at most (onnxruntime)")
    say(console, f"{folder / shipped.CARD}: {len(made.figures['evaluations'])} evaluations")
    return folder


def _write(source: AgentSource, agent: TD3, folder: Path) -> shipped.ShippedAgent:
    """The folder of the agent: made of its run, or copied from where it lies."""
    if source.run is None:
        found = shipped.read(source.folder)
        shutil.copytree(source.folder, folder, dirs_exist_ok=True)
        return shipped.ShippedAgent(folder, found.config, found.figures)
    training = cards.training_of(source, source.run)
    evaluations = cards.evaluations_of(source.run, source.sha256)
    film = cards.film_of(source.run, source.sha256)
    if film is not None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(film, folder / shipped.FILM)
    return shipped.write(
        folder,
        agent,
        source.config,
        training,
        about=cards.about(training),
        limits=cards.limits_of(source),
        evaluations=evaluations,
    )


def _on_the_processor(config: Config) -> Config:
    """The same networks in float32 on the CPU: what is exported must not depend on this machine."""
    return config.model_copy(
        update={
            "train": config.train.model_copy(update={"device": "cpu"}),
            "agent": config.agent.model_copy(update={"precision": "float32"}),
        }
    )


class Policy(nn.Module):
    """An agent's policy alone: (B, K, H, W) uint8 and (B, V) float32 -> (B, 2) actions in (-1, 1)."""

    def __init__(self, agent: TD3, averaged: bool) -> None:
        super().__init__()
        self.encoder = agent.target_actor_encoder if averaged else agent.actor_encoder
        self.actor = agent.target_actor if averaged else agent.actor

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        action: Tensor = self.actor(self.encoder(image), vector)[0]
        return action


def examples(config: Config, count: int) -> tuple[Tensor, Tensor]:
    """Made-up observations: noise, and from every second one on also plain black, which hides nothing."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (count, *image_shape(config)), dtype=np.uint8)
    image[1::2] //= 255
    vector = rng.normal(size=(count, config.env.vector_size)).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(vector)


def _check_written(made: shipped.ShippedAgent, agent: TD3, averaged: bool, config: Config) -> None:
    """Read the folder as anybody would, and compare the actions."""
    again = find_agent(made.folder).load(config)
    image, vector = examples(config, 4)
    wanted, found = agent.act(image, vector, averaged), again.act(image, vector)
    if not torch.equal(wanted, found):
        raise UserError(f"{made.folder / shipped.POLICY} gives other actions than the agent", FAILED)


def write_onnx(agent: TD3, config: Config, averaged: bool, file: Path) -> float:
    """Write the policy as ONNX with inputs ``image`` and ``vector`` and output ``action``.

    Returns:
        The largest difference between its actions in onnxruntime and the agent's, for batches of 1 and 5.

    Raises:
        UserError: it is larger than :data:`TOLERANCE`; the file is removed.
    """
    policy = Policy(agent, averaged).eval()
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        torch.onnx.export(
            policy,
            examples(config, 2),
            str(file),
            input_names=["image", "vector"],
            output_names=["action"],
            dynamic_shapes={"image": {0: batch}, "vector": {0: batch}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in (1, 5):
        image, vector = examples(config, count)
        [found] = session.run(["action"], {"image": image.numpy(), "vector": vector.numpy()})
        worst = max(worst, float(np.abs(found - agent.act(image, vector, averaged).numpy()).max()))
    if not worst <= TOLERANCE:
        file.unlink()
        raise UserError(f"the ONNX policy acts otherwise than the agent: by up to {worst:.2g}", FAILED)
    return worst
