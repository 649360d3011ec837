"""The conditions that are judged in a run, and their thresholds.

An alert of av-td3, a gate, a rule of rundoctor and a line of its check-list that judge the same condition
share its id, its thresholds and the reason for them.  The id is that of the finding; the alert has the same
name with underscores.
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
    """A figure that a judgement depends on, and the reason for it."""

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
    """The reason for the thresholds."""
    at_once: bool = False
    """The figure has no noise: av-td3's alert does not wait for further rows."""
    raised: Raised = ""
    """Who raises av-td3's alert: the rule on a row of scalars, or the trainer.  Empty: there is no alert."""
    finding: str = ""
    """Id under which rundoctor reports it; empty: its own id."""
    more: Mapping[str, Threshold] = field(default_factory=dict)
    """Further thresholds, of rules that judge by other figures."""

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
        "rounding": Threshold(1e-6, "share of the encoder's gradient that may be the logs' rounding"),
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
        "on the same states the two differ by at most a one-step advantage, a fraction of Q's own size and "
        "spread: correct agents stay within about 1, and no advantage reaches 10"
    ),
    more={
        "beyond doubt": Threshold(100.0, "from here one row suffices"),
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
        "no discounted return exceeds max |r| / (1 - gamma), so a larger Q is an error of the network (soft "
        "divergence, van Hasselt et al. 2018); 5 % allow for the error of a trained network"
    ),
    more={
        "estimated, warning": Threshold(
            1.5, "for a bound from the rewards in batches, which may miss rare large ones"
        ),
        "estimated, critical": Threshold(10.0, "for the same bound: no rare reward explains a factor of 10"),
        "unknown, mean": Threshold(50.0, "mean Q where no bound is known, for rewards of about 1"),
        "unknown, largest": Threshold(
            100.0, "largest Q where no bound is known: 1 / (1 - gamma) at gamma 0.99"
        ),
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
    reason="a thousandth allows for rounding; the bound of Q is valid only if this one is",
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
        "the optimiser was set up for; the norm before the clip is judged, as the clip bounds the one after"
    ),
    more={
        "growth": Threshold(
            1000.0, "late norm over early norm, where no clip is known: while losses fall it does not grow so"
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
        "and still learn, so half is only a warning; from 0.95 on at most one sample in twenty has a gradient"
    ),
    more={
        "mean action": Threshold(
            0.9, "size of the mean action; with a larger one about one action in twenty is within the limits"
        ),
        "spread": Threshold(
            0.05,
            "spread, judged if only one action is known: full throttle may be a straight road",
        ),
        "head's gradient": Threshold(
            1e-3, "share of the encoder's: tanh' is 0.02 at |a| = 0.99 and falls as exp(-2 |pre-tanh|)"
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
            10.0, "late loss over the best one: ten times the squared error is three times the error"
        ),
        "growth from the start": Threshold(
            100.0,
            "where the first quarter is the best: a Q that starts at 0 explains a factor of 10",
        ),
        "growth, critical": Threshold(1000.0, "the same: thirty times the error"),
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
        "both critics fit the same targets; the minimum of the two lowers the target by about their "
        "difference, and from half of Q's own scale on the target is mostly that correction"
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
        "values and their errors grow while an agent learns, but their ratio falls; with an error of 0.4 "
        "standard deviations the critic explains about three quarters of the variance, with 1 it is no "
        "better than a constant"
    ),
    more={
        "settled": Threshold(
            1000.0,
            "updates before it is judged: the critic starts untrained; sound ones are then below 0.2",
        ),
        "explained variance": Threshold(
            0.5, "below it the critic is nearer to a constant than to its targets"
        ),
        "trend": Threshold(0.05, "rise of the ratio over a stage; noise alone can cause a smaller one"),
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
    reason="saturated and vanishing gradients are not exactly 0; that of a detached loss is",
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
            1e-6, "a smaller gradient is lost in the optimiser's epsilon and in rounding"
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
    reason="a target copy follows its network with a lag: it is neither equal to it nor independent of it",
    more={
        "no lag": Threshold(
            1e-9, "distance of network and target over the network's length; below it is rounding"
        ),
        "another network": Threshold(
            1.0, "the same distance: two independent networks are about sqrt(2) lengths apart"
        ),
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
    reason="the cause that ended an episode determines its flag, without exception",
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
        "achieved": Threshold(0.5, "share of routes or successes that is not reached without learning"),
        "chance": Threshold(
            0.02, "probability that a rise of the returns is chance, over all windows that are tried"
        ),
        "effect": Threshold(
            0.2, "rise in units of the scatter of single rows: a small effect (Cohen 1988); less is a drift"
        ),
        "climb": Threshold(
            5.0, "largest rise of the smoothed returns over their largest fall; noise rises and falls alike"
        ),
        "steady": Threshold(
            0.03, "scatter as a share of the level; below it the policy may have been good from the start"
        ),
    },
)
POLICY_FROZEN = Condition(
    "policy-frozen",
    "the policy does not change",
    (evaluation.RETURN, episodes.RETURN),
    "training returns in a row that are equal to the last digit",
    critical=10.0,
    reason="a return is a sum of hundreds of rewards, and with exploration noise no two episodes are equal",
    more={
        "evaluations": Threshold(5.0, "equal evaluations in a row: each is a sum over hundreds of steps"),
        "share": Threshold(
            0.3, "share of the series that is equal, counted from its end; less may be chance"
        ),
        "same": Threshold(1e-6, "relative difference that float32 cannot resolve"),
        "nearly all": Threshold(
            0.9, "share of a reward of 1 a step; above it the return may be the largest possible"
        ),
    },
)
EVALUATION_GAP = Condition(
    "evaluation-gap",
    "evaluation is far worse than training",
    (evaluation.RETURN, episodes.RETURN),
    "return that the evaluations lack, as a share of what training gained",
    warning=0.5,
    reason="without its noise the trained policy does as well or better; no seed explains half of the gain",
    more={
        "level": Threshold(
            0.3, "the gap as a share of the larger level; other seeds and routes explain less"
        ),
        "scatters": Threshold(3.0, "the gap in units of the returns' scatter; chance explains less"),
    },
)
RESTART_COLLAPSE = Condition(
    "restart-collapse",
    "the return collapses at a restart",
    (episodes.RETURN, evaluation.RETURN),
    "return that is lost at the restart, as a share of what had been gained before it",
    warning=0.5,
    reason="after a complete checkpoint the level stays; a replay that is filled anew costs little of it",
    more={
        "level": Threshold(
            0.2, "the loss as a share of the larger level; less is the scatter of a few episodes"
        ),
        "scatters": Threshold(3.0, "the loss in units of the scatter on both sides; chance explains less"),
        "soon": Threshold(0.1, "share of the later returns; a level that is back within it was hardly lost"),
    },
)
AGENT_STANDSTILL = Condition(
    "agent-standstill",
    "the agent does not move",
    (episodes.SPEED,),
    "late speed, km/h or m/s",
    warning=0.5,
    below=True,
    reason="a car that drives is faster on every row; a car at rest in CARLA still has some thousandths",
    more={
        "blocked": Threshold(1e-3, "speed of a car that something other than its policy stops"),
        "usual": Threshold(0.1, "share of the earlier speed; slower is standing"),
        "normalised": Threshold(0.02, "speed, if it never exceeds 2 and so may be a share of a top speed"),
        "rows": Threshold(
            0.1, "share of all rows that are 0 one after the other; a stop at a light is shorter"
        ),
    },
)
REWARD_DEGRADING = Condition(
    "reward-degrading",
    "the return falls while the agent trains",
    (episodes.RETURN,),
    "loss of return from the first to the last third, as a share of the larger",
    warning=0.3,
    reason="a smaller loss may be the drift of smoothed or scattered returns",
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
        "shortest": Threshold(
            25.0, "steps: 1.25 s, or 2.5 s with two ticks a step; a car is then still near its start"
        ),
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
        "if an offence that need not end a drive ends half of the episodes, it decides their length; causes "
        "that do stop a drive are how every agent fails at first, so for those rundoctor waits for 0.95"
    ),
)
REWARD_IMBALANCE = Condition(
    "reward-imbalance",
    "one component dominates the reward",
    (replay.COMPONENT, replay.SHARE),
    "share of one component in the sum of the components' sizes",
    warning=0.9,
    reason="less than a tenth of the reward is below the critic's error and is not learned",
    more={
        "spread": Threshold(
            30.0,
            "standard deviation of single rewards: learning rates of 1e-4 to 1e-3 suit rewards about 1; with "
            "rewards 30 times larger the gradients drive the actor out of tanh's range at once",
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
    reason="TD3 uses 0.1; a tenth of that does not change how a car drives",
)
HEAD_STARVED = Condition(
    "head-starved",
    "the actor's head gets almost no gradient",
    (gradients.BEFORE["actor_head"], gradients.BEFORE["actor_encoder"]),
    "norm of the head's gradient over that of the encoder's, under an active joint clip",
    warning=0.01,
    below=True,
    reason="a joint clip divides its limit in proportion to the norms; below 0.01 the head hardly learns",
)
REPRESENTATION_COLLAPSE = Condition(
    "representation-collapse",
    "the encoder's features carry no information",
    tuple(networks.DEAD_UNITS.values()),
    "share of features that are the same for every picture",
    warning=0.95,
    reason="only a twentieth of the features still depends on the picture",
    more={
        "rank": Threshold(1.5, "effective rank; below it features differ along one direction only"),
    },
)
CLIP_ALWAYS_ACTIVE = Condition(
    "clip-always-active",
    "the gradient clip is active on every update",
    tuple(gradients.CLIP_RATIO.values()),
    "share of rows on which the norm before the clip exceeds its limit",
    warning=0.95,
    reason="common and harmless for the critic; it matters if the actor's norm is cut to less than a tenth",
    more={
        "cut": Threshold(
            10.0, "norm before the clip over its limit; from here nine tenths of each step are lost"
        ),
    },
)
EVALUATION_MISSING = Condition(
    "evaluation-missing",
    "the policy was not evaluated",
    (evaluation.RETURN, evaluation.SUCCESS, evaluation.ROUTE_COMPLETION),
    "number of evaluations",
    warning=0.0,
    below=True,
    reason="training returns are only those of the noisy policy on training routes",
)

POLICY_STEP_TOO_LARGE = Condition(
    "policy-step-too-large",
    "the policy of PPO changes too much in one update",
    (others.APPROX_KL, others.CLIP_FRACTION),
    "median KL divergence of an update over the second half, while the return does not rise",
    warning=0.2,
    reason="0.01 to 0.05 is usual, and Spinning Up stops at 0.015; runs that learn fast reach 0.1",
    more={
        "clip fraction": Threshold(0.6, "0.1 to 0.3 is usual; above 0.6 most samples give no gradient"),
    },
)
ENTROPY_COLLAPSE = Condition(
    "entropy-collapse",
    "the policy became deterministic before it learned anything",
    (others.ENTROPY,),
    "entropy over the second half, as a share of its start, while the return does not rise",
    warning=0.02,
    below=True,
    reason="the entropy that is left of two actions when one of them is taken in 999 of 1,000 cases",
)
VALUE_UNEXPLAINED = Condition(
    "value-unexplained",
    "the value function predicts nothing",
    (critic.EXPLAINED_VARIANCE,),
    "median explained variance over the second half, while the return does not rise",
    warning=0.0,
    below=True,
    reason="a constant reaches 0",
)

# --- the world around ---------------------------------------------------------------------

MEMORY_GROWTH = Condition(
    "memory-growth",
    "memory grows without limit",
    (machine.RSS, machine.GPU),
    "memory at the end over that at the start",
    warning=2.0,
    critical=4.0,
    reason="buffers and caches fill up and level off; only memory that is never freed doubles and grows on",
    more={
        "least": Threshold(2.0, "GiB of growth; less fills no machine"),
        "large": Threshold(
            16.0, "GiB of growth; from here it is critical, because many machines are then full"
        ),
        "still": Threshold(
            0.5, "growth of the second half over that of the first; memory that levels off is below it"
        ),
        "full": Threshold(90.0, "per cent of the machine's memory; above it the system kills processes"),
        "replay": Threshold(
            64.0, "KiB a step; less may be a replay that fills with pictures (4 x 84 x 84, twice)"
        ),
    },
)
SIMULATOR_INCIDENTS = Condition(
    "simulator-incidents",
    "the simulator fails again and again",
    (machine.INCIDENTS, machine.RESTARTS),
    "incidents in 1,000 steps: restarts, ports that are taken",
    warning=1.0,
    critical=5.0,
    at_once=True,
    raised="row",
    reason="each one cuts an episode; with five in 1,000 steps hardly an episode is whole",
)
STALE_BUILD = Condition(
    "stale-build",
    "the code on disk is not the code that the run recorded",
    (machine.CODE_CHANGED,),
    "1 when it differs",
    warning=0.0,
    at_once=True,
    raised="row",
    reason="conclusions about the source tree are then wrong; the run itself may be sound",
)
NAN_OR_INF = Condition(
    "nan-or-inf",
    "a value is not finite",
    (),
    "values that are NaN or infinite",
    critical=0.0,
    at_once=True,
    raised="trainer",
    reason="every later value is worthless; training ends with the last good state",
)
ALERT_UNREACHABLE = Condition(
    "alert-unreachable",
    "an alert cannot fire",
    (),
    "alerts that stay silent on a row made to set them off",
    critical=0.0,
    at_once=True,
    raised="trainer",
    reason="an alert that stays silent in its own test cannot warn",
)


CONDITIONS: tuple[Condition, ...] = tuple(c for c in list(globals().values()) if isinstance(c, Condition))
"""Every condition, once."""
BY_ID: dict[str, Condition] = {c.id: c for c in CONDITIONS}
ALERTS: tuple[Condition, ...] = tuple(c for c in CONDITIONS if c.raised)
"""The conditions that av-td3 raises an alert for."""
