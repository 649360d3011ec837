"""Probes: environments so small that the right answer is known, each for one part of the agent.

The idea is Andy Jones's ("Debugging RL, Without the Agonizing Pain", 2021), here for continuous actions and
for pictures.  The agent, the replay and the update are the real ones; only the environment is tiny.  The
probes are a ladder: each needs what those before it need and one thing more.  So the first that fails names
the part.  ``python -m verification.probes`` climbs it.

The data is collected once, by random actions.  Then the agent learns from the replay alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from av_td3.agent.replay import Replay
from av_td3.agent.td3 import TD3
from av_td3.config import AgentConfig
from av_td3.training.batches import to_batch

Floats = NDArray[np.float32]
Sees = Literal["vector", "separate", "shared", "asymmetric"]
"""What holds the observation.  vector: the vector, and there is no encoder.  separate, shared: the picture
alone, with ``agent.encoder`` of that name.  asymmetric: the actor sees the picture alone, the critic the
vector alone."""

SIZE, BLOCK, PATCH = 36, 4, 12
"""Pixels of a picture's side, of a block of the background, and of the patch that shows the observation."""
ACTIONS = 2
GAMMA = 0.5
DEFAULTS: dict[str, Any] = {
    "feature_size": 16,
    "encoder_net": "small",
    "hidden": (64, 64),
    "batch_size": 32,
    "gamma": GAMMA,
    "tau": 0.05,
    "actor_lr": 1e-3,
    "critic_lr": 1e-3,
    "actor_encoder_lr": 1e-3,
    "critic_encoder_lr": 1e-3,
    "critic_warmup": 100,
}
"""Settings that solve the probes in seconds; what is not named here is the configuration's default."""


@dataclass(frozen=True)
class Outcome:
    """What a step of a probe leads to."""

    reward: float
    observation: float
    terminated: bool
    truncated: bool = False


@dataclass(frozen=True)
class Probe:
    """An environment whose observation is one number in [-1, 1], and what there is to learn."""

    name: str
    what: str
    start: Callable[[np.random.Generator], float]
    step: Callable[[float, Floats, int], Outcome]
    """(observation, action (2,), steps so far in the episode) -> outcome."""
    needs: str
    """What is broken when this probe is the first to fail."""
    value: Callable[[float], float] | None = None
    """Q of every action at an observation; None where Q depends on the action."""
    policy: Callable[[float], tuple[float, float | None]] | None = None
    """The best action at an observation; None for what is as good as anything else."""
    at: tuple[float, ...] = (0.0,)
    """Observations at which the answers are judged."""


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _nought(rng: np.random.Generator) -> float:
    return 0.0


def _cost(action: Floats, best: tuple[float, float]) -> float:
    return float(np.square(action - np.array(best)).sum())


def _later(observation: float, action: Floats, steps: int) -> Outcome:
    """The first action becomes the next observation, and that is the reward of the second step."""
    return Outcome(0.0, float(action[0]), False) if steps == 0 else Outcome(observation, -1.0, True)


PROBES: tuple[Probe, ...] = (
    Probe(
        "constant",
        "one step, reward 1",
        _nought,
        lambda o, a, n: Outcome(1.0, 0.0, True),
        "the critic's loss or its optimiser, or the reward on its way through the replay",
        value=lambda o: 1.0,
    ),
    Probe(
        "observation",
        "one step, the reward is the observation",
        _sign,
        lambda o, a, n: Outcome(o, 0.0, True),
        "what the critic sees: its encoder, the gradient into it, or observations beside the wrong rewards",
        value=lambda o: o,
        at=(-1.0, 1.0),
    ),
    Probe(
        "two-step",
        "a step without reward, then one with reward 1",
        lambda rng: -1.0,
        lambda o, a, n: Outcome(0.0, 1.0, False) if n == 0 else Outcome(1.0, -1.0, True),
        "the Bellman target: discount, target networks, the next observation, or the flag of the end",
        value=lambda o: 1.0 if o > 0 else GAMMA,
        at=(-1.0, 1.0),
    ),
    Probe(
        "truncated",
        "reward 1 for ever, cut off after each third step by a limit of time",
        _nought,
        lambda o, a, n: Outcome(1.0, 0.0, False, truncated=n == 2),
        "the difference between an end and a limit of time: what is cut off goes on, and must bootstrap",
        value=lambda o: 1.0 / (1.0 - GAMMA),
    ),
    Probe(
        "action",
        "one step, the best action is (0.5, -0.5)",
        _nought,
        lambda o, a, n: Outcome(1.0 - _cost(a, (0.5, -0.5)), 0.0, True),
        "the policy's gradient through the action, the actor's optimiser, or actions at wrong rewards",
        policy=lambda o: (0.5, -0.5),
    ),
    Probe(
        "observation and action",
        "one step, the best action is (0.5, -0.5) times the observation",
        _sign,
        lambda o, a, n: Outcome(1.0 - _cost(a, (0.5 * o, -0.5 * o)), 0.0, True),
        "what the actor sees: its encoder, the gradient into it, or a critic that judges another observation",
        policy=lambda o: (0.5 * o, -0.5 * o),
        at=(-1.0, 1.0),
    ),
    Probe(
        "delayed",
        "two steps, the first action is the second step's reward",
        lambda rng: -1.0,
        _later,
        "the target policy in the Bellman target, or values that do not reach back to the action before",
        policy=lambda o: (1.0, None),
        at=(-1.0,),
    ),
)
BY_NAME = {probe.name: probe for probe in PROBES}


@dataclass(frozen=True)
class Answer:
    """What the agent learned at one observation, beside what is right."""

    what: str
    found: float
    expected: float
    tolerance: float

    @property
    def right(self) -> bool:
        return abs(self.found - self.expected) <= self.tolerance


@dataclass(frozen=True)
class Result:
    """The answers of one probe."""

    probe: Probe
    sees: Sees
    answers: tuple[Answer, ...]

    @property
    def solved(self) -> bool:
        return all(answer.right for answer in self.answers)

    def __str__(self) -> str:
        if self.solved:
            return f"{self.probe.name} ({self.sees}): solved"
        wrong = "; ".join(
            f"{a.what} is {a.found:.2f}, not {a.expected:.2f}" for a in self.answers if not a.right
        )
        return f"{self.probe.name} ({self.sees}): {wrong}.  Look at: {self.probe.needs}"


def solve(
    probe: Probe,
    sees: Sees = "vector",
    settings: dict[str, Any] | None = None,
    *,
    n_step: int = 1,
    updates: int = 500,
    transitions: int = 2_000,
    seed: int = 0,
    make: Callable[..., TD3] = TD3,
) -> Result:
    """Collect data with random actions, learn from it, and compare with what is right.

    Args:
        settings: of ``agent``, over :data:`DEFAULTS`.
        n_step: ``replay.n_step``.
        make: the agent's class, for an agent of one's own.

    Raises:
        pydantic.ValidationError: settings that there are not.
    """
    encoder = "none" if sees == "vector" else sees
    config = AgentConfig.model_validate({**DEFAULTS, "encoder": encoder, **(settings or {})})
    torch.manual_seed(seed)
    shape = (1, SIZE, SIZE) if sees != "vector" else (1, 0, 0)
    # In `separate` and `shared` the vector says nothing; in `asymmetric` it is for the critic alone.
    visible = 0 if sees == "asymmetric" else None
    agent = make(config, shape, 1, ACTIONS, visible_size=visible)
    show = _Shown(sees, np.random.default_rng([seed, 1]))
    replay = Replay(transitions + 100, shape, 1, ACTIONS, config.gamma, n_step)
    _collect(probe, replay, show, transitions, np.random.default_rng([seed, 2]))
    rng = np.random.default_rng([seed, 3])
    for _ in range(updates):
        agent.update(to_batch(replay.sample(config.batch_size, rng), agent.device))
    return Result(probe, sees, tuple(a for o in probe.at for a in _answers(agent, probe, o, show)))


class _Shown:
    """Makes the agent's observation of the number."""

    def __init__(self, sees: Sees, rng: np.random.Generator) -> None:
        self.sees, self.rng = sees, rng

    def __call__(self, number: float) -> dict[str, NDArray[Any]]:
        told = self.sees in ("vector", "asymmetric")
        vector = np.array([number if told else 0.0], np.float32)
        if self.sees == "vector":
            return {"image": np.empty((1, 0, 0), np.uint8), "vector": vector}
        return {"image": self._picture(number)[None], "vector": vector}

    def _picture(self, number: float) -> NDArray[np.uint8]:
        """A patch shows the number by its brightness, among blocks of random brightness.

        An encoder that does not learn mixes the patch with the blocks, and its features say little.
        """
        blocks = self.rng.integers(0, 256, (SIZE // BLOCK, SIZE // BLOCK), dtype=np.uint8)
        picture = np.kron(blocks, np.ones((BLOCK, BLOCK), np.uint8))
        picture[:PATCH, :PATCH] = round(127.5 * (1.0 + number))
        return picture


def _collect(probe: Probe, replay: Replay, show: _Shown, transitions: int, rng: np.random.Generator) -> None:
    observation, steps = probe.start(rng), 0
    replay.begin(show(observation))
    for _ in range(transitions):
        action = rng.uniform(-1.0, 1.0, ACTIONS).astype(np.float32)
        outcome = probe.step(observation, action, steps)
        observation, steps = outcome.observation, steps + 1
        replay.add(action, outcome.reward, outcome.terminated, outcome.truncated, show(observation))
        if outcome.terminated or outcome.truncated:
            observation, steps = probe.start(rng), 0
            replay.begin(show(observation))


def _answers(agent: TD3, probe: Probe, observation: float, show: _Shown) -> list[Answer]:
    """Means over 64 pictures of the observation, and over random actions."""
    seen = [show(observation) for _ in range(64)]
    image = torch.from_numpy(np.stack([s["image"] for s in seen])).to(agent.device)
    vector = torch.from_numpy(np.stack([s["vector"] for s in seen])).to(agent.device)
    answers = []
    where = f"at observation {observation:+.0f}"
    if probe.value is not None:
        expected = probe.value(observation)
        action = torch.empty(64, ACTIONS, device=agent.device).uniform_(-1.0, 1.0)
        with torch.no_grad():
            pair = agent.critic(agent.critic_encoder(image), vector, action)
        tolerance = 0.1 * max(1.0, abs(expected))
        answers += [
            Answer(f"Q{k} {where}", float(q.mean()), expected, tolerance) for k, q in enumerate(pair, 1)
        ]
    if probe.policy is not None:
        found = agent.act(image, vector).mean(0)
        answers += [
            Answer(f"action {k} {where}", float(found[k - 1]), best, 0.2)
            for k, best in enumerate(probe.policy(observation), 1)
            if best is not None
        ]
    return answers
