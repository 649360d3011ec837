"""Settings of TD3: what the references use, and how far from them is too far.

Paper: Fujimoto, van Hoof, Meger 2018, section 6.1 and appendix C (arXiv 1802.09477v3).  Its authors' present
code uses rates of 3e-4 and batches of 256.  SB3: the defaults of ``TD3`` in Stable-Baselines3 2.x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import networks
from .model import Signal


@dataclass(frozen=True)
class Setting:
    """One setting, its reference values, and two ranges around them.

    Outside ``usual`` a value is odd, outside ``known`` it is far from all that TD3 is known to work with.
    """

    name: str
    meaning: str
    paper: str
    sb3: str
    usual: tuple[float, float]
    known: tuple[float, float]
    reference: float | None = None
    """The references' value, where they agree on one."""
    signal: Signal | None = None
    """Where av-td3 logs the value that the update uses; its alert watches these."""

    def off(self, value: float) -> int:
        """0: usual.  1: odd.  2: far from the references."""
        if _within(value, self.usual):
            return 0
        return 1 if _within(value, self.known) else 2


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] < value < ends[1]


_ANY = math.inf
_USUAL_RATE = (1e-4 / 1.5, 1.5e-3)
_KNOWN_RATE = (1e-4 / 30, 2.5e-3)

GAMMA = Setting(
    "gamma",
    "discount factor",
    "0.99",
    "0.99",
    # a horizon 1 / (1 - gamma) of 45 to 220 steps, where the references look 100 steps ahead; of 20 to 2,000
    (1 - 1 / 45, 1 - 1 / 220),
    (0.95, 0.9995),
    0.99,
    networks.GAMMA,
)
TAU = Setting(
    "tau",
    "share of the network that its target takes over",
    "0.005",
    "0.005",
    (0.005 / 2.1, 0.005 * 2.1),
    (0.005 / 4, 0.005 * 40),
    0.005,
    networks.TAU,
)
RATES = {
    "actor": Setting(
        "actor_lr",
        "learning rate of the actor",
        "1e-3 (code 3e-4)",
        "1e-3",
        _USUAL_RATE,
        _KNOWN_RATE,
        signal=networks.RATE["actor"],
    ),
    "critic": Setting(
        "critic_lr",
        "learning rate of the critic",
        "1e-3 (code 3e-4)",
        "1e-3",
        _USUAL_RATE,
        _KNOWN_RATE,
        signal=networks.RATE["critic"],
    ),
    "actor_encoder": Setting(
        "actor_encoder_lr",
        "learning rate of the actor's encoder",
        "- (DrQ-v2 1e-4)",
        "1e-3",
        _USUAL_RATE,
        _KNOWN_RATE,
        signal=networks.RATE["actor_encoder"],
    ),
    "critic_encoder": Setting(
        "critic_encoder_lr",
        "learning rate of the critic's encoder",
        "- (DrQ-v2 1e-4)",
        "1e-3",
        _USUAL_RATE,
        _KNOWN_RATE,
        signal=networks.RATE["critic_encoder"],
    ),
}
BATCH_SIZE = Setting(
    "batch_size", "samples in a batch", "100 (code 256)", "256", (160 / 2.6, 160 * 2.6), (160 / 10, _ANY), 160
)
POLICY_DELAY = Setting(
    "policy_delay", "updates of the critic for each of the policy", "2", "2", (1.99, 2.01), (0, _ANY), 2
)
POLICY_NOISE = Setting(
    "policy_noise",
    "noise on the target policy's action",
    "0.2",
    "0.2",
    (0.2 / 1.6, 0.2 * 1.6),
    (0, 0.2 * 5),
    0.2,
)
NOISE_CLIP = Setting(
    "noise_clip",
    "limit of the noise on the target policy's action",
    "0.5",
    "0.5",
    (0.5 / 1.6, 0.5 * 1.6),
    (0, 0.5 * 5),
    0.5,
)
EXPLORATION_NOISE = Setting(
    "exploration_noise",
    "noise on the actions while collecting data",
    "0.1",
    "none by default",
    (0.1 / 3.1, 0.1 * 3.1),
    (0, 0.1 * 10),
    0.1,
)

SETTINGS: tuple[Setting, ...] = (
    GAMMA,
    TAU,
    *RATES.values(),
    BATCH_SIZE,
    POLICY_DELAY,
    POLICY_NOISE,
    NOISE_CLIP,
    EXPLORATION_NOISE,
)
