"""What is judged in a run, and by which thresholds: one entry for each condition.

An alert of av-td3, a gate, a rule of rundoctor and a line of its check-list that judge the same thing share
the entry: its id, its thresholds and the reason for them.  The id is the id of the finding; the alert has
the same name with underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from . import actor, critic, episodes, evaluation, gradients, machine, networks, others, replay
from .model import Signal
from .settings import SETTINGS

Unit = Literal["", "q_bound", "reward_bound", "clip"]
"""What a threshold is a multiple of.

Nothing (the figure has no unit, or the signal's); the largest discounted return that the reward allows;
the largest reward of one transition; the limit of the gradient clip.
"""
Level = Literal["ok", "warning", "critical"]
Raised = Literal["", "row", "trainer"]


@dataclass(frozen=True)
class Threshold:
    """A figure that a judgement turns on, and why it is this one."""

    value: float
    reason: str


@dataclass(frozen=True, eq=False)
class Condition:
    """One thing that can be wrong."""

    id: str
    title: str
    """What is wrong, as a sentence."""
    signals: tuple[Signal, ...]
    """What it is judged by; empty: files beside the event files."""
    figure: str
    """What is compared with the thresholds."""
    warning: float | None = None
    critical: float | None = None
    unit: Unit = ""
    below: bool = False
    """The figure is bad below the thresholds, not above."""
    reason: str = ""
    """Why the thresholds are what they are."""
    at_once: bool = False
    """No noise is in the figure: av-td3's alert waits for no second row."""
    raised: Raised = ""
    """Who raises av-td3's alert: the rule on a row of scalars, or the trainer.  Empty: there is no alert."""
    finding: str = ""
    """Id under which rundoctor reports it; empty: its own id."""
    more: Mapping[str, Threshold] = field(default_factory=dict)
    """Further thresholds, of rules that have other figures to go by."""

    @property
    def alert(self) -> str:
        """Name of av-td3's alert, as in ``alerts/<name>_warning``."""
        return self.id.replace("-", "_")

    @property
    def thresholds(self) -> dict[str, float]:
        """Every threshold by its name: warning, critical, and those of ``more``."""
        levels = {"warning": self.warning, "critical": self.critical}
        named = {name: value for name, value in levels.items() if value is not None}
        return named | {name: threshold.value for name, threshold in self.more.items()}

    def threshold(self, name: str) -> float:
        """One threshold by its name.

        Raises:
            KeyError: the condition has none of that name.
        """
        return self.thresholds[name]

    def level(self, value: float, scale: float = 1.0) -> Level:
        """How bad a figure is; ``scale`` is what the thresholds are multiples of."""
        for name, threshold in (("critical", self.critical), ("warning", self.warning)):
            if threshold is not None and self._beyond(value, threshold * scale):
                return "critical" if name == "critical" else "warning"
        return "ok"

    def _beyond(self, value: float, limit: float) -> bool:
        if self.below:
            return value <= limit
        return value >= limit if limit else value > 0  # a threshold of 0: nothing but 0 is sound

    def limit(self, level: Level, scale: float = 1.0) -> float:
        """The threshold of a level, or of the nearest level that has one."""
        thresholds = (self.critical, self.warning) if level == "critical" else (self.warning, self.critical)
        return next((t * scale for t in thresholds if t is not None), 0.0)


# --- values that are out of bounds --------------------------------------------------------

STATE_GRADIENT_LEAK = Condition(
    "state-gradient-leak",
    "the policy gradient reaches the actor through the critic's state input",
    (gradients.STATE_PATH,),
    "gradient norm through the state input",
    critical=0.0,
    at_once=True,
    raised="row",
    reason="the critic's features are held constant in the actor's loss, so the gradient is exactly 0",
    more={
        "rounding": Threshold(1e-6, "of the encoder's gradient, where the logs round"),
    },
)
POLICY_Q_GAP = Condition(
    "policy-q-gap",
    "Q of the policy's actions is far from Q of the data",
    (actor.Q.mean, critic.Q1.mean, critic.Q1.std),
    "|Q(policy) - Q(data)| on the same states, divided by the size and spread of Q(data)",
    warning=3.0,
    critical=10.0,
    raised="row",
    finding="state-gradient-leak",
    reason=(
        "at the same states the two differ by a one-step advantage at most, a fraction of Q's own size and "
        "spread: correct agents stay within about 1; no advantage reaches 10"
    ),
    more={
        "beyond doubt": Threshold(100.0, "one row is enough"),
    },
)
Q_ABOVE_REWARD_BOUND = Condition(
    "q-above-reward-bound",
    "Q lies above what any rewards can add up to",
    (critic.Q1.mean, critic.Q2.mean, actor.Q.mean, critic.TARGET.mean, actor.Q.max),
    "largest |Q|",
    warning=1.05,
    critical=2.0,
    unit="q_bound",
    raised="row",
    reason=(
        "no discounted return exceeds max |r| / (1 - gamma); what lies beyond is the network's invention "
        "(soft divergence, van Hasselt et al. 2018); 5 % allow for the error of a network that has learned it"
    ),
    more={
        "estimated, warning": Threshold(1.5, "a bound from the rewards in batches misses rarer, larger ones"),
        "estimated, critical": Threshold(10.0, "no rarer reward explains a factor of 10"),
        "unknown, mean": Threshold(50.0, "mean Q for rewards about 1, where no bound is known"),
        "unknown, largest": Threshold(100.0, "1 / (1 - gamma) at gamma 0.99"),
    },
)
REWARD_ABOVE_BOUND = Condition(
    "reward-above-bound",
    "a stored reward is larger than the reward function can give",
    (replay.REWARD.min, replay.REWARD.max),
    "largest |reward| in a batch",
    critical=1.001,
    unit="reward_bound",
    raised="row",
    finding="q-above-reward-bound",
    reason="a thousandth allows for rounding; the bound of Q holds only as long as this one does",
)
GRADIENT_EXPLOSION = Condition(
    "gradient-explosion",
    "a gradient explodes",
    tuple(gradients.CLIP_RATIO.values()),
    "gradient norm before the clip",
    warning=100.0,
    critical=1000.0,
    unit="clip",
    raised="row",
    reason=(
        "beyond 100 times its limit the clip discards 99 % of every step: the loss is on another scale than "
        "the optimiser was set up for; the norm before the clip is judged, for the clip bounds the other"
    ),
    more={
        "growth": Threshold(
            1000.0, "late over early norm, where no clip is known: losses that are learned do not grow so"
        ),
    },
)
ACTOR_SATURATED = Condition(
    "actor-saturated",
    "the actor is saturated",
    (actor.SATURATION,),
    "share of the policy's actions beyond 0.99",
    warning=0.5,
    critical=0.95,
    raised="row",
    reason=(
        "tanh passes under 2 % of a gradient there; policies that switch between the limits reach 0.6 to 0.8 "
        "and still learn, so half is worth a look; from 0.95 on one sample in twenty has a gradient"
    ),
    more={
        "mean action": Threshold(
            0.9, "a mean this near the limit leaves room for one action in twenty inside"
        ),
        "spread": Threshold(0.05, "of one action alone: full throttle on a straight road is no saturation"),
        "head's gradient": Threshold(
            1e-3, "of the encoder's: tanh' is 0.02 at |a| = 0.99 and falls as exp(-2 |pre-tanh|)"
        ),
    },
)
CRITIC_DIVERGENCE = Condition(
    "critic-divergence",
    "the critic diverges",
    (critic.TD_ERROR, critic.TD_ERROR_2),
    "mean TD error",
    warning=0.5,
    critical=1.0,
    unit="q_bound",
    raised="row",
    reason="a critic that is wrong by the whole range of returns has learned nothing",
    more={
        "growth": Threshold(
            10.0, "late loss over the best: a squared error ten times the best is three times it"
        ),
        "growth from the start": Threshold(
            100.0, "where the first quarter is the best: Q that starts from 0 explains a decade or more"
        ),
        "growth, critical": Threshold(1000.0, "thirty times the error"),
    },
)
TWIN_DISAGREEMENT = Condition(
    "twin-disagreement",
    "the twin critics disagree",
    (critic.TWIN_GAP, critic.Q1.mean, critic.Q2.mean, critic.Q1.std, critic.Q2.std),
    "mean |Q1 - Q2|, divided by the size and spread of Q",
    warning=0.5,
    critical=2.0,
    raised="row",
    reason=(
        "both critics fit the same targets; the minimum of the two corrects by about their difference, and "
        "from half of Q's own scale on the target is mostly that correction"
    ),
)
CRITIC_NOT_LEARNING = Condition(
    "critic-not-learning",
    "the critic does not explain its targets",
    (critic.TD_ERROR_RELATIVE, critic.EXPLAINED_VARIANCE),
    "TD error, divided by the standard deviation of the targets",
    warning=0.4,
    critical=1.0,
    raised="row",
    reason=(
        "values grow while an agent learns, and errors with them: what falls is their ratio; an error of 0.4 "
        "standard deviations explains about three quarters of the variance; an error of one is a constant's"
    ),
    more={
        "settled": Threshold(
            1000.0,
            "updates: the first ones start from a critic that knows nothing; sound ones are below 0.2 then",
        ),
        "explained variance": Threshold(
            0.5, "below it the critic is nearer to a constant than to its targets"
        ),
        "trend": Threshold(0.05, "rise of the ratio over a stage that noise alone can cause"),
    },
)

# --- faults of the wiring -----------------------------------------------------------------

CLIP_NOT_APPLIED = Condition(
    "clip-not-applied",
    "the gradient clip did not hold",
    tuple(gradients.AFTER.values()),
    "joint norm of an optimiser's gradients after the clip",
    critical=1.01,
    unit="clip",
    raised="row",
    reason="the norm after the clip is at most its limit; one per cent allows for rounding",
)
GRADIENT_MISSING = Condition(
    "gradient-missing",
    "no gradient reaches some of the parameters",
    (*gradients.BEFORE.values(), gradients.ACTION_PATH),
    "groups that are trained and whose gradient is exactly 0, and 1 if Q's gradient does not reach the actor",
    critical=0.0,
    raised="row",
    reason="saturation and vanishing leave traces before they reach 0; a detached loss does not",
)
PARAMETERS_FROZEN = Condition(
    "parameters-frozen",
    "parameters that have a gradient do not move",
    (*networks.UPDATE_TO_WEIGHT.values(), *networks.WEIGHT_MEAN.values(), *networks.WEIGHT_STD.values()),
    "groups that do not move",
    critical=0.0,
    raised="row",
    reason="under Adam a parameter that has a gradient moves by about its learning rate in each update",
    more={
        "least gradient": Threshold(
            1e-6, "a smaller norm is lost in the optimiser's epsilon and in rounding"
        ),
    },
)
TARGET_ENCODERS_MISSING = Condition(
    "target-encoders-missing",
    "a network has no target copy of its own",
    tuple(networks.TARGET_DRIFT.values()),
    "networks whose target copy does not follow them",
    critical=0.0,
    raised="row",
    reason="a target copy lags behind its network: it is neither equal to it nor another network",
    more={
        "no lag": Threshold(1e-9, "distance of network and target over the network's length: rounding"),
        "another network": Threshold(1.0, "two networks drawn independently are about sqrt(2) lengths apart"),
    },
)
TERMINAL_FLAG_WRONG = Condition(
    "terminal-flag-wrong",
    "episodes end with the wrong terminal flag",
    (replay.TERMINAL_FLAG_MISMATCH, replay.DONE_RATIO),
    "share of episodes whose flag contradicts what ended them",
    critical=0.0,
    at_once=True,
    raised="row",
    reason="what ended an episode says whether it terminated or was cut off; no exception is right",
)
HYPERPARAMETER_OFF_REFERENCE = Condition(
    "hyperparameter-off-reference",
    "a setting is far from all that TD3 is known to work with",
    tuple(s.signal for s in SETTINGS if s.signal is not None),
    "settings outside the known range",
    warning=0.0,
    at_once=True,
    raised="row",
    reason="the TD3 paper, its code, Stable-Baselines3 and DrQ-v2 agree within small factors on what works",
)

# --- episodes, rewards, what is learned ---------------------------------------------------

NEVER_LEARNS = Condition(
    "never-learns",
    "the agent does not learn to drive",
    (evaluation.ROUTE_COMPLETION,),
    "route completion in evaluations",
    warning=0.1,
    below=True,
    reason="a car that goes straight on from its start covers several per cent of most routes",
    more={
        "achieved": Threshold(0.5, "share of routes or successes that nobody reaches without learning"),
        "change": Threshold(0.05, "share of the level below which a trend of the returns is no learning"),
        "scatters": Threshold(6.0, "scatters of the last third that a rise exceeds, however small it is"),
        "steady": Threshold(
            0.03, "scatter as a share of the level: a policy that was good already varies so little"
        ),
    },
)
POLICY_FROZEN = Condition(
    "policy-frozen",
    "the policy does not change",
    (evaluation.RETURN, episodes.RETURN),
    "training returns in a row that are equal to the last digit",
    critical=10.0,
    reason="a return sums hundreds of rewards, and exploration noise makes every episode another",
    more={
        "evaluations": Threshold(5.0, "equal ones in a row: each is a sum over hundreds of steps"),
        "share": Threshold(0.3, "of the series, from its end, where its beginning differs: less is chance"),
        "same": Threshold(1e-6, "relative difference that float32 cannot tell apart"),
        "nearly all": Threshold(0.9, "of one reward a step: the return may be all that there is to earn"),
    },
)
EVALUATION_GAP = Condition(
    "evaluation-gap",
    "evaluation is far worse than training",
    (evaluation.RETURN, episodes.RETURN),
    "return that the evaluations lack, as a share of what training gained",
    warning=0.5,
    reason="without its noise the trained policy does as well or better; half of the gain is no seed's luck",
    more={
        "level": Threshold(0.3, "of the larger level: other seeds and routes explain less"),
        "scatters": Threshold(3.0, "scatters of the returns: chance explains less"),
    },
)
RESTART_COLLAPSE = Condition(
    "restart-collapse",
    "the return collapses at a restart",
    (episodes.RETURN, evaluation.RETURN),
    "return that is lost at the restart, as a share of what had been gained before it",
    warning=0.5,
    reason="a complete checkpoint goes on at its level; a replay that is filled anew costs little of it",
    more={
        "level": Threshold(0.2, "of the larger level: less is the scatter of a few episodes"),
        "scatters": Threshold(3.0, "scatters of the returns on both sides: chance explains less"),
        "soon": Threshold(0.1, "of the returns since: a level that is back by then was hardly lost"),
    },
)
AGENT_STANDSTILL = Condition(
    "agent-standstill",
    "the car does not move",
    (episodes.SPEED,),
    "late speed, km/h or m/s",
    warning=0.5,
    below=True,
    reason="a car that drives is faster on every row; at rest CARLA's physics still reads some thousandths",
    more={
        "blocked": Threshold(1e-3, "speed of a car that something other than its policy holds"),
        "usual": Threshold(0.1, "of the speed that it drove before: slower is standing"),
        "normalised": Threshold(
            0.02, "where the speed may be a share of a top speed, because it never exceeds 2"
        ),
        "rows": Threshold(0.1, "share of all rows in a row at 0: a stop at a light is shorter"),
    },
)
REWARD_DEGRADING = Condition(
    "reward-degrading",
    "the return falls while the agent trains",
    (episodes.RETURN,),
    "loss of return from the first to the last third, as a share of the larger",
    warning=0.3,
    reason="a drift of smoothed or scattered returns below that looks the same",
)
EPISODE_COLLAPSE = Condition(
    "episode-collapse",
    "episodes collapse",
    (episodes.LENGTH,),
    "length of the episodes at the end over that at the start",
    warning=0.5,
    critical=0.2,
    below=True,
    reason="random actions alone vary the length by less than a factor of 2",
    more={
        "shortest": Threshold(25.0, "steps: in 1.25 s a car does not leave its start"),
    },
)
SINGLE_CAUSE_TERMINATION = Condition(
    "single-cause-termination",
    "episodes are all ended by one cause",
    (episodes.RULE_ENDED_SHARE, episodes.TERMINATION),
    "share of the last 20 episodes that a touched marking ended",
    warning=0.5,
    critical=0.95,
    raised="row",
    reason=(
        "an offence that need not end a drive decides how long episodes are once it ends half of them; what "
        "really stops a drive is how every agent fails at first, so rundoctor waits for 0.95 of those"
    ),
)
REWARD_IMBALANCE = Condition(
    "reward-imbalance",
    "one component drowns the rest of the reward",
    (replay.COMPONENT, replay.SHARE),
    "share of one component in the sum of the components' sizes",
    warning=0.9,
    reason="what is less than a tenth of the reward is below the critic's error and is not learned",
    more={
        "spread": Threshold(
            30.0,
            "standard deviation of single rewards: rates of 1e-4 to 1e-3 suit rewards about 1; 1.5 decades "
            "more make gradients so large that the actor leaves tanh's range at once",
        ),
    },
)
NO_EXPLORATION = Condition(
    "no-exploration",
    "the agent does not explore",
    (actor.NOISE,),
    "standard deviation of the action noise",
    warning=0.01,
    below=True,
    reason="TD3 uses 0.1; a tenth of that moves no car differently",
)
HEAD_STARVED = Condition(
    "head-starved",
    "the actor's head gets next to no gradient",
    (gradients.BEFORE["actor_head"], gradients.BEFORE["actor_encoder"]),
    "norm of the head's gradient over that of the encoder's, under an active joint clip",
    warning=0.01,
    below=True,
    reason="a joint clip shares its budget by the norms; below a hundredth the head could be left out",
)
REPRESENTATION_COLLAPSE = Condition(
    "representation-collapse",
    "the encoder's features carry no information",
    tuple(networks.DEAD_UNITS.values()),
    "share of features that are the same for every picture",
    warning=0.95,
    reason="a twentieth of the features is all that is left to tell pictures apart",
    more={
        "rank": Threshold(1.5, "effective rank: features differ along one direction only"),
    },
)
CLIP_ALWAYS_ACTIVE = Condition(
    "clip-always-active",
    "the gradient clip is active on every update",
    tuple(gradients.CLIP_RATIO.values()),
    "share of rows on which the norm before the clip exceeds its limit",
    warning=0.95,
    reason="common and harmless for the critic; it matters where the actor's norm is cut by more than 10",
    more={
        "cut": Threshold(10.0, "norm before the clip over its limit: nine tenths of each step are lost"),
    },
)
EVALUATION_MISSING = Condition(
    "evaluation-missing",
    "the policy was not evaluated",
    (evaluation.RETURN, evaluation.SUCCESS, evaluation.ROUTE_COMPLETION),
    "number of evaluations",
    warning=0.0,
    below=True,
    reason="returns of training are those of the noisy policy on training routes",
)

POLICY_STEP_TOO_LARGE = Condition(
    "policy-step-too-large",
    "the policy of PPO changes too much in one update",
    (others.APPROX_KL, others.CLIP_FRACTION),
    "median KL divergence of an update over the second half, while the return does not rise",
    warning=0.2,
    reason="0.01 to 0.05 is usual, and Spinning Up stops at 0.015; runs that learn fast reach 0.1",
    more={
        "clip fraction": Threshold(0.6, "0.1 to 0.3 is usual; beyond this most samples give no gradient"),
    },
)
ENTROPY_COLLAPSE = Condition(
    "entropy-collapse",
    "the policy became deterministic before it learned anything",
    (others.ENTROPY,),
    "entropy over the second half, as a share of its start, while the return does not rise",
    warning=0.02,
    below=True,
    reason="what is left of the choice between two actions when one is taken in 999 of 1,000 cases",
)
VALUE_UNEXPLAINED = Condition(
    "value-unexplained",
    "the value function predicts nothing",
    (critic.EXPLAINED_VARIANCE,),
    "median explained variance over the second half, while the return does not rise",
    warning=0.0,
    below=True,
    reason="0 is what a constant reaches",
)

# --- the world around ---------------------------------------------------------------------

MEMORY_GROWTH = Condition(
    "memory-growth",
    "memory grows without end",
    (machine.RSS, machine.GPU),
    "memory at the end over that at the start",
    warning=2.0,
    critical=4.0,
    reason="buffers and caches fill up and level off; only what is never let go doubles and goes on growing",
    more={
        "least": Threshold(2.0, "GiB: growth below it fills no machine"),
        "large": Threshold(16.0, "GiB: many machines are full then, so from here on it is critical"),
        "still": Threshold(0.5, "growth of the second half over the first: what levels off grows less"),
        "full": Threshold(90.0, "per cent of the machine's memory, beyond which the system kills a process"),
        "replay": Threshold(64.0, "KiB a step of stored pictures (4 x 84 x 84, twice): a filling replay"),
    },
)
SIMULATOR_INCIDENTS = Condition(
    "simulator-incidents",
    "the simulator fails again and again",
    (machine.INCIDENTS, machine.RESTARTS),
    "incidents in 1,000 steps: restarts, ports that others hold",
    warning=1.0,
    critical=5.0,
    at_once=True,
    raised="row",
    reason="each one cuts an episode; five in 1,000 steps cut episodes faster than they are learned from",
)
STALE_BUILD = Condition(
    "stale-build",
    "the code on disk is not the code that the run recorded",
    (machine.CODE_CHANGED,),
    "1 when it differs",
    warning=0.0,
    at_once=True,
    raised="row",
    reason="conclusions about the source tree are void; the run itself may be sound",
)
NAN_OR_INF = Condition(
    "nan-or-inf",
    "a value is not finite",
    (),
    "values that are NaN or infinite",
    critical=0.0,
    at_once=True,
    raised="trainer",
    reason="every value after it is worthless; training ends with the last good state",
)
ALERT_UNREACHABLE = Condition(
    "alert-unreachable",
    "an alert cannot fire",
    (),
    "alerts that a row made to set them off does not set off",
    critical=0.0,
    at_once=True,
    raised="trainer",
    reason="an alert that stays silent in its own drill gives a false sense of safety",
)


CONDITIONS: tuple[Condition, ...] = tuple(c for c in list(globals().values()) if isinstance(c, Condition))
"""Every condition, once."""
BY_ID: dict[str, Condition] = {c.id: c for c in CONDITIONS}
ALERTS: tuple[Condition, ...] = tuple(c for c in CONDITIONS if c.raised)
"""The conditions that av-td3 raises an alert for."""
