"""Replay and rewards: what the agent learns from."""

from __future__ import annotations

from .model import Moments, Signal, aliases

COMPONENTS = ("progress", "safety", "lane_keeping", "efficiency", "comfort", "red_light")
"""The components of av-td3's reward; they add up to it."""

REWARD = Moments(
    Signal(
        "reward_mean",
        "debug/reward_mean",
        "reward of the replayed transitions",
        "reward",
        aliases=aliases("train/batch_reward", "buffer_rewards", "batch_reward"),
    ),
    Signal("reward_min", "debug/reward_min", "smallest reward in a batch", "reward"),
    Signal("reward_max", "debug/reward_max", "largest reward in a batch", "reward"),
    Signal(
        "reward_std",
        "debug/reward_std",
        "standard deviation of the rewards in a batch",
        "reward",
        healthy="about 1",
    ),
)
REWARD_BOUND = Signal(
    "reward_bound",
    "",
    "largest reward of one step, in size, that the reward function can give",
    "reward",
    aliases=aliases("debug/reward_bound"),
)
COMPONENT = Signal(
    "reward_component",
    "rewards/<component>_component",
    "this component's part of the reward of a step; the components add up to the reward",
    "reward",
    choices=COMPONENTS,
)
SHARE = Signal(
    "reward_share",
    "rewards/<component>_percentage",
    "this component's share of the sum of the components' sizes",
    "%",
    healthy="none near 100",
    choices=COMPONENTS,
)
DONE_RATIO = Signal(
    "done_ratio",
    "debug/done_ratio",
    "share of transitions in a batch that end their episode by termination",
    healthy="below 0.1",
)
DISCOUNT = Signal(
    "effective_discount",
    "debug/effective_discount",
    "mean factor on the next state's value: gamma, or 0 at a termination",
    healthy="just below gamma",
)
TERMINAL_FLAG_MISMATCH = Signal(
    "terminal_flag_mismatch",
    "debug/terminal_flag_mismatch",
    "share of episodes whose last transition carries another terminal flag than its cause demands",
    healthy="0",
)
SIZE = Signal(
    "buffer_size",
    "progress/buffer_size",
    "transitions in the replay",
    "steps",
    "last",
    "rises until it is full",
    aliases(
        "buffer_size",
        "train/buffer_size",
        "replay_buffer/size",
        "ReplayBuffer/buffer_size",
        "ER #Transitions",
    ),
)
UTILIZATION = Signal(
    "buffer_utilization",
    "agent/buffer_utilization",
    "share of the replay's capacity that is filled",
    "",
    "last",
    "rises to 1",
)
