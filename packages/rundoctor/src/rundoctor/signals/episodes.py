"""Episodes of training: what they returned, how long they were, how they ended."""

from __future__ import annotations

from .model import Alias, Signal, aliases

SB3_MEAN = "Stable-Baselines3 logs the mean over the last 100 episodes, so this curve lags behind"
_MEAN = "a mean over several episodes, so this curve lags behind"
_EPOCH = "a mean over the episodes of one epoch"
CAUSES = (
    "success",
    "time_limit",
    "simulator_fault",
    "collision",
    "off_road",
    "wrong_way",
    "lane_invasion",
    "red_light",
    "stuck",
)
"""What can end an episode of av-td3's environment (``av_td3.driving.termination``)."""

RETURN = Signal(
    "episode_return",
    "train/episode_reward",
    "undiscounted return of a finished training episode, exploration noise included",
    "reward",
    "episode",
    "rises",
    aliases(
        "charts/episodic_return",
        Alias("rollout/ep_rew_mean", SB3_MEAN),
        "train/episode_return",
        "episode/return",
        Alias("train/true_episode_reward", "PEBBLE: the task's reward, not the learned one"),
        Alias("true_episode_reward", "PEBBLE: the task's reward, not the learned one"),
        "train/reward_episode",
        Alias("train/returns_stat/mean", _EPOCH),
        Alias("exploration/Returns Mean", _EPOCH),
        Alias("exploration/Average Returns", _EPOCH),
        Alias("exploration/AverageReturn", _EPOCH),
        Alias("expl/Returns Mean", _EPOCH),
        Alias("Exploration Returns Mean", _EPOCH),
        Alias("rollout/return_history", "OpenAI baselines: the mean over the last 100 episodes"),
        Alias("rollout/return", "OpenAI baselines: the mean over the episodes of one epoch"),
        Alias("eprewmean", "OpenAI baselines: the mean over the last 100 episodes"),
        Alias("EpRewMean", "OpenAI baselines: the mean over the last 100 episodes"),
        Alias("mean 100 episode reward", "OpenAI baselines: the mean over the last 100 episodes"),
        Alias("ray/tune/episode_reward_mean", _MEAN),
        Alias("env_runners/episode_return_mean", _MEAN),
        Alias("env_runners/episode_reward_mean", _MEAN),
        Alias("sampler_results/episode_reward_mean", _MEAN),
        Alias("episode_reward_mean", _MEAN),
        Alias("episode_return_mean", _MEAN),
        Alias("rewards/step", _MEAN),
        Alias("rewards/frame", _MEAN),
        Alias("rewards/iter", _MEAN),
        Alias("shaped_rewards/step", _MEAN),
        Alias("AverageEpRet", _EPOCH),
        Alias("EpRet", _EPOCH),
        Alias("Environment/Cumulative Reward", _MEAN),
        Alias("Training Reward", "Coach: the return of one episode"),
        Alias("reward/reward", "Sample-Factory: the mean over recent episodes"),
        Alias(
            "train/reward",
            "TorchRL's and Tianshou's scripts log the return of finished episodes under this name",
            not_in=("Stable-Baselines3",),
        ),
        "reward/episode",
        "rollout/episode_reward",
        "custom/total_reward",
        "episode/score",
        "episode_reward",
        "episode_return",
        "episodic_return",
        "episodic_reward",
        "ep_rew_mean",
        "ep_reward",
        "ep_return",
        Alias("ep_r", "DRL-Pytorch logs the mean return of its evaluation episodes under this name"),
        Alias("Average/AverageReturn", _MEAN),
        Alias("AverageReturn", _MEAN),
        "total_reward",
        "score",
        *(
            Alias(name, "a list of returns by its name alone", unsure=True)
            for name in ("returns", "rewards", "scores", "episode_rewards", "episode_returns", "ep_rewards")
        ),
        Alias("reward", "one unnamed reward: taken for the return of an episode", unsure=True),
    ),
)
LENGTH = Signal(
    "episode_length",
    "train/episode_length",
    "length of a finished training episode",
    "steps",
    "episode",
    "does not shrink while the return falls",
    aliases(
        "charts/episodic_length",
        Alias("rollout/ep_len_mean", SB3_MEAN),
        "episode/length",
        "nb_episode_steps",
        "rollout/episode_length",
        "rollout/episode_steps",
        Alias("train/lens_stat/mean", _EPOCH),
        Alias("exploration/path length Mean", _EPOCH),
        Alias("expl/path length Mean", _EPOCH),
        Alias("Exploration path length Mean", _EPOCH),
        Alias("eplenmean", "OpenAI baselines: the mean over the last 100 episodes"),
        Alias("EpLenMean", "OpenAI baselines: the mean over the last 100 episodes"),
        Alias("ray/tune/episode_len_mean", _MEAN),
        Alias("env_runners/episode_len_mean", _MEAN),
        Alias("sampler_results/episode_len_mean", _MEAN),
        Alias("episode_len_mean", _MEAN),
        Alias("episode_lengths/step", _MEAN),
        Alias("episode_lengths/frame", _MEAN),
        Alias("episode_lengths/iter", _MEAN),
        Alias("EpLen", _EPOCH),
        Alias("Environment/Episode Length", _MEAN),
        "Episode Length",
        Alias("len/len", "Sample-Factory: the mean over recent episodes"),
        "train/step_count",
        "train/length",
        "episode_length",
        "episodic_length",
        "ep_len_mean",
        "ep_len",
        "ep_length",
        Alias("steps", "a column that counts anew in every row: taken for the episode's length", unsure=True),
        Alias("length", "one unnamed length: taken for an episode's", unsure=True),
    ),
)
DEMONSTRATION_RETURN = Signal(
    "demonstration_return",
    "demonstrations/episode_return",
    "undiscounted return of an episode that the classical driver drove in the warm-up",
    "reward",
    "episode",
    "shows what the agent can reach; it is not the agent's",
)
DEMONSTRATION_COMPLETION = Signal(
    "demonstration_completion",
    "demonstrations/route_completion",
    "share of the route that the classical driver covered in such an episode",
    "0..1",
    "episode",
    "near 1",
)
COLLISIONS = Signal(
    "collisions",
    "train/collisions_per_episode",
    "collisions in a training episode",
    "",
    "episode",
    "falls",
    aliases("train/collisions", "episode/collisions"),
)
LANE_INVASIONS = Signal(
    "lane_invasions",
    "train/lane_invasions_per_episode",
    "touched lane markings in a training episode",
    "",
    "episode",
    "falls",
    aliases("train/lane_invasions", "episode/lane_invasions"),
)
ROUTE_COMPLETION = Signal(
    "route_completion",
    "train/route_completion",
    "share of the route that was driven in a training episode, 0 to 1",
    "",
    "episode",
    "rises after the first 10,000 steps",
    aliases("rollout/route_completion", "episode/route_completion", "custom/routes_completed"),
)
SUCCESS = Signal(
    "success",
    "",
    "share of training episodes that reached their goal",
    "",
    "episode",
    "rises",
    aliases(
        Alias("rollout/success_rate", SB3_MEAN),
        "train/success_rate",
        "train/true_episode_success",
        "success_rate",
    ),
)
TERMINATION = Signal(
    "termination",
    "train/termination_<cause>",
    "1 at each episode that ended by this cause",
    "",
    "episode",
    "several causes occur; success grows",
    choices=CAUSES,
)
RULE_ENDED_SHARE = Signal(
    "rule_ended_share",
    "progress/rule_ended_share",
    "share of the last 20 episodes that ended because a lane marking was touched",
    "",
    "last",
    "well below 1",
)
STEPS = Signal(
    "episode_steps", "progress/episode_steps", "steps so far in the present episode", "steps", "last"
)
SPEED = Signal(
    "speed",
    "progress/speed_kmh",
    "speed of the car",
    "km/h",
    "mean",
    "not 0 on many rows in succession",
    aliases(
        "speed_kmh",
        Alias("custom/avg_speed", "the unit is not known"),
        Alias("custom/speed", "the unit is not known"),
        Alias("carla/speed", "the unit is not known"),
        Alias("avg_speed", "the unit is not known"),
        Alias("mean_speed", "the unit is not known"),
        Alias("speed", "the unit is not known"),
        Alias("velocity", "the unit is not known"),
    ),
)
REWARD = Signal(
    "current_reward",
    "progress/current_reward",
    "reward of one environment step",
    "reward",
    "mean",
    "about 1 in size",
    aliases(
        Alias(
            "train/reward",
            "the reward of one step, as FinRL's callback logs it",
            only_in=("Stable-Baselines3",),
        ),
        "custom/mean_reward",
        "exploration/Rewards Mean",
        "step_reward",
    ),
)
