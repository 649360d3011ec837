"""Plausible runs, healthy and sick, as series and as real event files.

``healthy(seed)`` draws everything that differs between sound runs: length, logging interval,
reward scale, noise, sign of the returns, speed.  A sickness is a function that changes the
series of a healthy run in the way that its fault does.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from rundoctor.readers.tfrecord import masked_crcs

Points = dict[str, list[tuple[int, float, float]]]
START = 1_700_000_000.0


@dataclass
class Made:
    """Series as (step, wall, value), and what stands beside them in a run directory."""

    points: Points = field(default_factory=dict)
    config: str = ""
    steps: int = 0
    row: int = 0
    rate: float = 1.0
    learning_starts: int = 0
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    gamma: float = 0.99
    scale: float = 1.0

    def wall(self, step: float) -> float:
        return START + step / self.rate

    def rows(self) -> list[int]:
        return [s for s in range(self.row, self.steps + 1, self.row) if s > self.learning_starts]

    def put(self, tag: str, f: Callable[[float], float]) -> None:
        """Replace a series on the rows; ``f`` gets the progress of learning, 0 .. 1."""
        rows = self.rows()
        span = max(1, rows[-1] - rows[0])
        self.points[tag] = [(s, self.wall(s), f((s - rows[0]) / span)) for s in rows]

    def change(self, tag: str, f: Callable[[float, float], float]) -> None:
        """Map the values of a series; ``f`` gets progress and value."""
        old = self.points[tag]
        first, last = old[0][0], old[-1][0]
        span = max(1, last - first)
        self.points[tag] = [(s, w, f((s - first) / span, v)) for s, w, v in old]

    def drop(self, *prefixes: str) -> None:
        for tag in [t for t in self.points if t.startswith(prefixes)]:
            del self.points[tag]


def healthy(seed: int, style: str = "av-td3") -> Made:
    """A sound run that learns; sparse or dense, noisy or clean, short or long."""
    rng = np.random.default_rng(seed)
    row = int(rng.choice([50, 100, 250, 1000]))
    count = int(rng.integers(9, 120))
    made = Made(
        row=row,
        steps=row * count,
        rate=float(rng.uniform(3, 200)),
        rng=rng,
        gamma=float(rng.choice([0.98, 0.99, 0.99, 0.995])),
        scale=float(10 ** rng.uniform(-1, 1)),
    )
    made.learning_starts = row * int(rng.integers(1, max(2, count // 5)))
    noise = float(rng.uniform(0.02, 0.35))
    jitter = lambda: float(rng.normal(0, noise))  # noqa: E731
    sign = float(rng.choice([1.0, 1.0, -1.0]))
    speed = float(rng.uniform(3, 12))
    horizon = 1 / (1 - made.gamma)

    def skill(p: float) -> float:
        """0 .. 1, how well the policy does after a share p of the learning."""
        return 1 / (1 + math.exp(-speed * (p - 0.35)))

    r = made.scale

    def step_reward(p: float) -> float:
        return r * (0.2 + 0.8 * skill(p)) if sign > 0 else -r * (1 - 0.8 * skill(p))

    # episodes
    step, episode = 0.0, 0
    typical = float(rng.uniform(40, 400))
    made.points["train/episode_reward"] = []
    made.points["train/episode_length"] = []
    termination: dict[str, int] = {"collision": 0, "off_road": 0, "stuck": 0, "time_limit": 0, "success": 0}
    while True:
        p = max(0.0, (step - made.learning_starts) / max(1, made.steps - made.learning_starts))
        length = max(5.0, typical * (0.5 + 0.5 * skill(p)) * math.exp(rng.normal(0, 0.4)))
        step += length
        if step > made.steps:
            break
        episode += 1
        total = step_reward(p) * length * math.exp(rng.normal(0, 0.25)) + r * float(rng.normal(0, 2))
        at = int(step)
        made.points["train/episode_reward"].append((at, made.wall(at), total))
        made.points["train/episode_length"].append((at, made.wall(at), round(length)))
        done = rng.random() < 0.2 + 0.6 * skill(p)
        termination[
            "success" if done else str(rng.choice(["collision", "off_road", "stuck", "time_limit"]))
        ] += 1
    if not made.points["train/episode_reward"]:
        del made.points["train/episode_reward"], made.points["train/episode_length"]
    for name, n in termination.items():
        made.points[f"train/termination_{name}"] = [(made.steps, made.wall(made.steps), float(n))]
    if episode >= 3:
        hits = rng.random(episode) < 0.3
        lanes = rng.poisson(1.0, episode)
        rows = made.points["train/episode_length"]
        made.points["train/collisions_per_episode"] = [
            (s, w, float(h)) for (s, w, _), h in zip(rows, hits, strict=True)
        ]
        made.points["train/lane_invasions_per_episode"] = [
            (s, w, float(n)) for (s, w, _), n in zip(rows, lanes, strict=True)
        ]

    # critic and policy
    learned = lambda p: min(1.0, 0.05 + 4 * p)  # noqa: E731  Q takes a while to reach its size

    def q(p: float) -> float:
        return step_reward(p) * horizon * 0.6 * learned(p)

    spread = 0.4 * r * horizon * 0.6
    made.put("train/q1_value", lambda p: q(p) * (1 + 0.3 * jitter()) + 0.02 * r)
    made.change("train/q1_value", lambda p, v: v)
    made.points["train/q2_value"] = [
        (s, w, v * (1 + 0.01 * jitter())) for s, w, v in made.points["train/q1_value"]
    ]
    made.points["debug/actor_q_mean"] = [
        (s, w, v + abs(v) * 0.1 * abs(jitter()) + 0.05 * r) for s, w, v in made.points["train/q1_value"]
    ]
    made.points["train/actor_loss"] = [(s, w, -v) for s, w, v in made.points["debug/actor_q_mean"]]
    for tag, k in (("max", 1), ("min", -1)):
        made.points[f"debug/actor_q_{tag}"] = [
            (s, w, v + k * spread * (0.5 + 0.3 * abs(jitter())))
            for s, w, v in made.points["debug/actor_q_mean"]
        ]
        for twin in ("q1", "q2"):
            made.points[f"debug/{twin}_{tag}"] = [
                (s, w, v + k * spread * (0.7 + 0.3 * abs(jitter())))
                for s, w, v in made.points["train/q1_value"]
            ]
        made.points[f"debug/target_q_{tag}"] = [
            (s, w, v + k * spread * (0.8 + 0.3 * abs(jitter()))) for s, w, v in made.points["train/q1_value"]
        ]
        limit = 10 * r
        made.put(f"debug/reward_{tag}", lambda p, k=k, limit=limit: k * limit * (0.8 + 0.2 * rng.random()))
    for twin in ("q1", "q2", "target_q"):
        made.put(f"debug/{twin}_std", lambda p: spread * learned(p) * math.exp(0.3 * jitter()))
    made.points["debug/target_q_mean"] = [
        (s, w, v * (1 + 0.02 * jitter())) for s, w, v in made.points["train/q1_value"]
    ]
    made.put("debug/reward_mean", lambda p: step_reward(p) * (1 + 0.1 * jitter()))
    made.put("debug/reward_std", lambda p: r * 1.2 * math.exp(0.2 * jitter()))
    made.put("train/critic_loss", lambda p: r * r * (0.3 + 8 * math.exp(-5 * p)) * math.exp(2 * jitter()))
    for twin in ("1", "2"):
        made.put(f"debug/td_error_q{twin}", lambda p: r * (0.3 + 2 * math.exp(-3 * p)) * math.exp(jitter()))
    lengths = [v for _, _, v in made.points.get("train/episode_length", [])]
    share = 1 / (np.mean(lengths) if lengths else typical)
    ended = sum(n for k, n in termination.items() if k != "time_limit") / max(1, sum(termination.values()))
    made.put("debug/done_ratio", lambda p: float(rng.binomial(256, share * ended)) / 256)
    made.points["debug/effective_discount"] = [
        (s, w, made.gamma * (1 - v)) for s, w, v in made.points["debug/done_ratio"]
    ]

    # gradients: true norms, sometimes clipped, sometimes not
    if style == "av-td3":
        for who, limit in (("actor", 1.0), ("critic", 10.0)):
            typical_norm = limit * 10 ** rng.uniform(-1.0, 0.7)
            before = [
                (s, typical_norm * math.exp(rng.normal(0, 0.5)), rng.uniform(0.15, 0.85)) for s in made.rows()
            ]
            for group, part in (("encoder", 0), ("head", 1)):
                tag = f"gradients/{who}_{group}_norm"
                made.points[f"{tag}_before_clip"] = [
                    (s, made.wall(s), n * math.sqrt(x if part == 0 else 1 - x)) for s, n, x in before
                ]
                made.points[f"{tag}_after_clip"] = [
                    (s, made.wall(s), n * math.sqrt(x if part == 0 else 1 - x) * min(1, limit / n))
                    for s, n, x in before
                ]
                made.points[f"gradients/{who}_{'cnn' if part == 0 else 'mlp'}_norm"] = list(
                    made.points[f"{tag}_after_clip"]
                )
        made.put("gradients/actor_state_path_norm", lambda p: 0.0)
        top = float(rng.uniform(0.05, 0.75))
        made.put("agent/saturation", lambda p: min(0.9, max(0.0, top * skill(p) * (1 + 0.2 * jitter()))))
        made.put("agent/pre_tanh_abs_mean", lambda p: 0.3 + 1.5 * skill(p) * math.exp(0.1 * jitter()))
        made.put("agent/action_steer_mean", lambda p: 0.1 * jitter())
        made.put("agent/action_steer_std", lambda p: 0.1 + 0.3 * skill(p))
        made.put("agent/action_throttle_mean", lambda p: 0.6 * skill(p) + 0.1 * jitter())
        made.put("agent/action_throttle_std", lambda p: 0.1 + 0.2 * skill(p))
        made.put("debug/twin_gap", lambda p: 0.05 * spread * math.exp(0.2 * jitter()))
        made.put("agent/feature_rank_actor", lambda p: 20 + 10 * p)
        made.put("agent/feature_rank_critic", lambda p: 25 + 10 * p)
        made.put("agent/dead_units_actor", lambda p: 0.3)
        for name in ("actor_encoder", "actor", "critic_encoder", "critic"):
            made.put(f"agent/target_drift_{name}", lambda p: 0.02 * math.exp(0.3 * jitter()))
        made.put("system/steps_per_s", lambda p: made.rate * (1 + 0.05 * jitter()))
        made.put("system/restarts", lambda p: 0.0)
    for name in ("actor_cnn", "actor", "critic_cnn", "critic"):
        base = float(rng.uniform(0.02, 0.08))
        made.put(f"agent/{name}_param_std", lambda p, b=base: b * (1 + 0.1 * p + 1e-3 * jitter()))
        made.put(f"agent/{name}_param_mean", lambda p, b=base: 0.01 * b * (1 + p + 1e-2 * jitter()))
        made.put(f"agent/{name}_lr", lambda p: 3e-4)
    made.put("agent/total_iterations", lambda p: 0.0)
    made.points["agent/total_iterations"] = [
        (s, w, float(s - made.learning_starts)) for s, w, _ in made.points["agent/total_iterations"]
    ]
    all_rows = list(range(row, made.steps + 1, row))
    made.points["progress/buffer_size"] = [(s, made.wall(s), float(s)) for s in all_rows]
    made.points["progress/speed_kmh"] = [
        (s, made.wall(s), abs(15 + 8 * float(rng.normal()))) for s in all_rows
    ]
    made.points["train/exploration_noise"] = [
        (s, made.wall(s), 0.1 + 0.2 * math.exp(-3 * s / made.steps)) for s in all_rows
    ]
    made.put("alerts/gradient_explosion_warning", lambda p: 0.0)
    made.put("alerts/gradient_explosion_critical", lambda p: 0.0)
    shares = rng.dirichlet([6, 3, 3, 2, 2])
    for name, part in zip(
        ("progress", "lane_keeping", "safety", "efficiency", "comfort"), shares, strict=True
    ):
        part = min(part, 0.7)
        made.put(f"rewards/{name}_component", lambda p, x=part: r * x * math.exp(0.2 * jitter()))
    interval = row * max(1, count // 4)

    def evaluated(p: float) -> float:
        """The return of an episode of typical length."""
        return step_reward(p) * typical * (0.5 + 0.5 * skill(p))

    for tag, f in (("eval/mean_reward", evaluated), ("eval/success_rate", skill)):
        made.points[tag] = [
            (s, made.wall(s), f(s / made.steps)) for s in range(interval, made.steps + 1, interval)
        ]
    return made


# --- other systems ------------------------------------------------------------------------------------

_RENAMED = {
    "sb3": {
        "train/episode_reward": "rollout/ep_rew_mean",
        "train/episode_length": "rollout/ep_len_mean",
        "train/actor_loss": "train/actor_loss",
        "train/critic_loss": "train/critic_loss",
        "system/steps_per_s": "time/fps",
        "agent/actor_lr": "train/learning_rate",
        "agent/total_iterations": "train/n_updates",
        "eval/mean_reward": "eval/mean_reward",
    },
    "cleanrl": {
        "train/episode_reward": "charts/episodic_return",
        "train/episode_length": "charts/episodic_length",
        "train/actor_loss": "losses/actor_loss",
        "train/critic_loss": "losses/qf_loss",
        "train/q1_value": "losses/qf1_values",
        "train/q2_value": "losses/qf2_values",
        "system/steps_per_s": "charts/SPS",
    },
    "torchrl": {
        "train/episode_reward": "train/reward",
        "train/episode_length": "train/step_count",
        "train/actor_loss": "train/loss_actor",
        "train/critic_loss": "train/loss_qvalue",
        "train/q1_value": "train/pred_value",
        "debug/actor_q_mean": "train/state_action_value_actor",
        "debug/target_q_mean": "train/target_value",
        "eval/mean_reward": "eval/reward",
    },
}


def renamed(made: Made, system: str) -> Made:
    """The same run as another system would have logged it."""
    names = _RENAMED[system]
    made.points = {names[t]: p for t, p in made.points.items() if t in names}
    if system == "sb3":  # means over the last 100 episodes, logged every 4 episodes
        for tag in ("rollout/ep_rew_mean", "rollout/ep_len_mean"):
            raw = made.points.get(tag, [])
            values = [v for _, _, v in raw]
            made.points[tag] = [
                (s, w, float(np.mean(values[max(0, i - 99) : i + 1])))
                for i, (s, w, _) in enumerate(raw)
                if i % 4 == 3
            ]
        made.points = {t: p for t, p in made.points.items() if p}
    return made


def indexed_by_episode(made: Made) -> Made:
    """The logs of a system that counts episodes on an axis of their own and logs fewer series."""
    made.drop(
        "gradients/", "agent/saturation", "agent/pre_tanh", "agent/action", "agent/feature", "agent/dead"
    )
    made.drop("system/", "debug/twin_gap", "train/termination")
    for tag in ("episode_reward", "episode_length", "collisions_per_episode", "lane_invasions_per_episode"):
        points = made.points.get(f"train/{tag}")
        if points:
            made.points[f"train/{tag}"] = [(i, w, v) for i, (_, w, v) in enumerate(points)]
    rng = made.rng
    for who, limit in (("actor", 1.0), ("critic", 10.0)):
        made.put(f"gradients/{who}_cnn_norm", lambda p, c=limit: c * float(rng.uniform(0.1, 0.7)))
        made.put(f"gradients/{who}_mlp_norm", lambda p, c=limit: c * float(rng.uniform(0.1, 0.7)))
    return made


# --- writing -----------------------------------------------------------------------------------------


def write_events(path: Path, points: Points, texts: dict[str, str] | None = None, own: bool = False) -> Path:
    """Write an event file in order of time.

    With ``own`` TensorBoard's message and record writer are used, which know nothing of the reader
    under test; otherwise a faster way that gives the same bytes (a test compares them).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    events = sorted(
        ((w, s, tag, v) for tag, series in points.items() for s, w, v in series), key=lambda e: (e[0], e[1])
    )
    first = events[0][0] if events else START
    payloads = [Event(wall_time=first, file_version="brain.Event:2").SerializeToString()]
    for tag, text in (texts or {}).items():
        event = Event(wall_time=first)
        value = event.summary.value.add(tag=f"{tag}/text_summary")
        value.metadata.plugin_data.plugin_name = "text"
        value.tensor.dtype = 7
        value.tensor.string_val.append(text.encode())
        payloads.append(event.SerializeToString())
    if own:
        for w, s, tag, v in events:
            event = Event(wall_time=w, step=s)
            event.summary.value.add(tag=tag, simple_value=v)
            payloads.append(event.SerializeToString())
        with path.open("wb") as file:
            writer = RecordWriter(file)
            for payload in payloads:
                writer.write(payload)
            writer.flush()
        return path
    payloads += [_payload(*e) for e in events]
    path.write_bytes(_framed(payloads))
    return path


def _payload(wall: float, step: int, tag: str, value: float) -> bytes:
    name = tag.encode()
    inner = b"\x0a" + _varint(len(name)) + name + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + _varint(len(inner)) + inner
    at = b"\x10" + _varint(step) if step else b""
    return b"\x09" + struct.pack("<d", wall) + at + b"\x2a" + _varint(len(summary)) + summary


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _framed(payloads: list[bytes]) -> bytes:
    heads = [struct.pack("<Q", len(p)) for p in payloads]
    sums = []
    for parts in (heads, payloads):
        lengths = np.array([len(p) for p in parts])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        sums.append(masked_crcs(np.frombuffer(b"".join(parts), np.uint8), starts, lengths))
    return b"".join(
        h + struct.pack("<I", a) + p + struct.pack("<I", b)
        for h, a, p, b in zip(heads, sums[0], payloads, sums[1], strict=True)
    )


def write_run(folder: Path, made: Made) -> Path:
    """An event file in a folder, named as TensorBoard names them."""
    write_events(folder / f"events.out.tfevents.{int(START)}.host.1.0", made.points)
    return folder


# --- sicknesses --------------------------------------------------------------------------------------

Sickness = Callable[[Made], None]


def leak(m: Made) -> None:
    """The policy's Q grows like the fourth power of the updates; the data's does not follow."""
    base = abs(m.points["train/q1_value"][0][2]) + 0.1 * m.scale
    n = len(m.rows())
    grow = lambda p, v: v + base * (1 + 12 * p * max(1, n / 12)) ** 4 * 0.01  # noqa: E731
    for tag in ("debug/actor_q_mean", "debug/actor_q_max"):
        m.change(tag, grow)
    m.points["train/actor_loss"] = [(s, w, -v) for s, w, v in m.points["debug/actor_q_mean"]]
    if "gradients/actor_state_path_norm" in m.points:
        m.put("gradients/actor_state_path_norm", lambda p: 24.0 * math.exp(0.1 * m.rng.normal()))


def leak_without_probe(m: Made) -> None:
    leak(m)
    m.points.pop("gradients/actor_state_path_norm", None)


def saturate(m: Made) -> None:
    m.put("agent/saturation", lambda p: min(1.0, 0.3 + 10 * p))
    m.put("agent/pre_tanh_abs_mean", lambda p: 1 + 40 * p)
    for tag in ("before", "after"):
        m.change(f"gradients/actor_head_norm_{tag}_clip", lambda p, v: v * 10 ** (-12 * p))
        m.change(f"gradients/actor_encoder_norm_{tag}_clip", lambda p, v: v * 10 ** (-12 * p))


def saturate_unlogged(m: Made) -> None:
    """Nothing but the head's gradient shows it."""
    saturate(m)
    m.drop("agent/saturation", "agent/pre_tanh", "agent/action")
    for tag in ("before", "after"):
        m.put(f"gradients/actor_encoder_norm_{tag}_clip", lambda p: 0.3)


def pin_actions(m: Made) -> None:
    m.drop("agent/saturation", "agent/pre_tanh", "gradients/")
    for name, at in (("steer", -0.97), ("throttle", 0.98)):
        m.put(f"agent/action_{name}_mean", lambda p, a=at: a * min(1, 4 * p))
        m.put(f"agent/action_{name}_std", lambda p: 0.05)


def starve(m: Made) -> None:
    for when in ("before", "after"):
        m.put(f"gradients/actor_encoder_norm_{when}_clip", lambda p, w=when: 1.0 if w == "after" else 40.0)
        m.put(f"gradients/actor_head_norm_{when}_clip", lambda p, w=when: 0.001 if w == "after" else 0.04)


def sum_norms(m: Made) -> None:
    for who, c in (("actor", 1.0), ("critic", 10.0)):
        for tag in (f"gradients/{who}_cnn_norm", f"gradients/{who}_encoder_norm_after_clip"):
            if tag in m.points:
                m.put(tag, lambda p, c=c: c * float(m.rng.uniform(1.8, 2.5)))


def no_clip(m: Made) -> None:
    for who in ("actor", "critic"):
        for group, old in (("encoder", "cnn"), ("head", "mlp")):
            before = f"gradients/{who}_{group}_norm_before_clip"
            if before in m.points:
                m.change(before, lambda p, v: v * 300 * math.exp(float(m.rng.normal(0, 1))))
                m.points[f"gradients/{who}_{group}_norm_after_clip"] = list(m.points[before])
                m.points[f"gradients/{who}_{old}_norm"] = list(m.points[before])
            else:
                m.change(f"gradients/{who}_{old}_norm", lambda p, v: v * 3000)


def clip_always(m: Made) -> None:
    for group in ("encoder", "head"):
        m.put(
            f"gradients/actor_{group}_norm_before_clip", lambda p: 50 * math.exp(float(m.rng.normal(0, 0.5)))
        )
        m.put(f"gradients/actor_{group}_norm_after_clip", lambda p: math.sqrt(0.5))


def dead_alerts(m: Made) -> None:
    m.put("alerts/gradient_explosion_warning_threshold", lambda p: 10_000.0)
    m.put("alerts/gradient_explosion_critical_threshold", lambda p: 50_000.0)


def explode_q(m: Made) -> None:
    """An over-estimating critic: the data's Q follows the policy's."""
    n = 6.0
    for tag in list(m.points):
        if tag.startswith(("debug/q", "debug/target_q", "debug/actor_q", "train/q1", "train/q2")):
            m.change(tag, lambda p, v: v * 10 ** (n * p))
    m.points["train/actor_loss"] = [(s, w, -v) for s, w, v in m.points["debug/actor_q_mean"]]


def above_bound(m: Made) -> None:
    """Three times the bound, not orders of magnitude."""
    bound = 10 * m.scale / (1 - m.gamma)
    for tag in ("debug/q1_max", "debug/target_q_max", "debug/actor_q_max", "debug/q2_max"):
        m.change(tag, lambda p, v: v + 3 * bound * min(1, 3 * p))


def diverge(m: Made) -> None:
    m.change("train/critic_loss", lambda p, v: v * 10 ** (7 * max(0, p - 0.3)))
    for tag in ("debug/td_error_q1", "debug/td_error_q2"):
        if tag in m.points:
            m.change(tag, lambda p, v: v * 10 ** (3.5 * max(0, p - 0.3)))


def part_twins(m: Made) -> None:
    scale = 4 * max(abs(v) for _, _, v in m.points["train/q1_value"]) + 80 * m.scale / (1 - m.gamma) * 0.6
    m.change("train/q2_value", lambda p, v: v + scale * min(1, 3 * p))
    if "debug/twin_gap" in m.points:
        m.put("debug/twin_gap", lambda p: scale * min(1, 3 * p))


def degrade(m: Made) -> None:
    points = m.points["train/episode_reward"]
    top = max(abs(v) for _, _, v in points)
    n = len(points)
    m.points["train/episode_reward"] = [
        (s, w, top * (1 - 1.6 * i / n) + 0.1 * top * float(m.rng.normal()))
        for i, (s, w, _) in enumerate(points)
    ]


def collapse(m: Made) -> None:
    n = len(m.points["train/episode_length"])
    m.points["train/episode_length"] = [
        (s, w, max(2.0, 200 * 0.01 ** min(1, 1.5 * i / n) * math.exp(float(m.rng.normal(0, 0.1)))))
        for i, (s, w, _) in enumerate(m.points["train/episode_length"])
    ]
    lengths = m.points["train/episode_length"]
    m.points["train/episode_reward"] = [(s, w, v * m.scale) for s, w, v in lengths]


def one_cause(m: Made) -> None:
    for tag in [t for t in m.points if t.startswith("train/termination_")]:
        m.points[tag] = [(m.steps, m.wall(m.steps), 0.0)]
    n = len(m.points["train/episode_length"])
    m.points["train/termination_lane_invasion"] = [(m.steps, m.wall(m.steps), float(n))]


def one_lane_invasion_each(m: Made) -> None:
    m.drop("train/termination")
    m.points["train/lane_invasions_per_episode"] = [
        (s, w, 1.0) for s, w, _ in m.points["train/lane_invasions_per_episode"]
    ]


def stop_exploring(m: Made) -> None:
    m.points["train/exploration_noise"] = [(s, w, 0.0) for s, w, _ in m.points["train/exploration_noise"]]


def interrupt(m: Made) -> None:
    m.config = f"train:\n  steps: {m.steps * 3}\n"


def freeze(m: Made) -> None:
    """Something still writes every row's time for long after the last step."""
    last = m.steps
    usual = m.row / m.rate
    pause = max(100.0, 30 * usual)
    m.points["system/rss_mb"] = [
        *((s, m.wall(s), 900.0) for s in m.rows()),
        *((last, m.wall(last) + pause * k / 10, 900.0) for k in range(1, 11)),
    ]


def slow_down(m: Made) -> None:
    rate, change = m.rate, m.learning_starts + 0.5 * (m.steps - m.learning_starts)

    def wall(step: float) -> float:
        late = max(0.0, step - change)
        return START + (step - late) / rate + 12 * late / rate

    m.points = {t: [(s, wall(s), v) for s, _, v in p] for t, p in m.points.items()}


def hang_once(m: Made) -> None:
    rows = m.rows()
    at = rows[len(rows) // 2]
    evaluated = {s for s, _, _ in m.points.get("eval/mean_reward", [])}
    while at in evaluated or at - m.row in evaluated or at + m.row in evaluated:
        at += m.row
    pause = max(200.0, 60 * m.row / m.rate, 0.5 * m.steps / m.rate)
    m.points = {t: [(s, w + (pause if s > at else 0.0), v) for s, w, v in p] for t, p in m.points.items()}


def poison(m: Made) -> None:
    for tag in ("train/critic_loss", "train/q1_value", "train/actor_loss"):
        if tag in m.points:
            m.change(tag, lambda p, v: math.nan if p > 0.6 else v)


def index_by_episode(m: Made) -> None:
    for tag in ("episode_reward", "episode_length", "collisions_per_episode", "lane_invasions_per_episode"):
        points = m.points.get(f"train/{tag}")
        if points:
            m.points[f"train/{tag}"] = [(i, w, v) for i, (_, w, v) in enumerate(points)]


def forget_metrics(m: Made) -> None:
    m.drop("debug/", "gradients/", "agent/saturation", "agent/action", "agent/pre_tanh", "train/q")


def forget_evaluation(m: Made) -> None:
    m.drop("eval/")
    m.config = f"train:\n  steps: {m.steps}\nevaluation:\n  interval: {max(1, m.steps // 5)}\n"


def odd_gamma(m: Made) -> None:
    m.gamma = 0.9
    m.points["debug/effective_discount"] = [(s, w, 0.9 * (1 - v)) for s, w, v in m.points["debug/done_ratio"]]
    for tag in list(m.points):  # Q and its targets live on the shorter horizon too
        if tag.startswith(("debug/q", "debug/target_q", "debug/actor_q", "train/q", "train/actor_loss")):
            m.change(tag, lambda p, v: v * 0.1)


def drown(m: Made) -> None:
    m.put("rewards/progress_component", lambda p: 30 * m.scale)


def scale_reward(m: Made) -> None:
    for tag in ("debug/reward_std", "debug/reward_max", "debug/reward_min", "debug/reward_mean"):
        m.change(tag, lambda p, v: v * 100 / m.scale)


def clamp(m: Made) -> None:
    limit = float(np.median([v for _, _, v in m.points["debug/actor_q_mean"]]))
    limit = abs(limit) or 1.0
    for tag in ("debug/actor_q_mean", "debug/actor_q_max"):
        m.change(tag, lambda p, v: limit if p > 0.2 else min(v, 0.5 * limit))
    m.points["train/actor_loss"] = [(s, w, -v) for s, w, v in m.points["debug/actor_q_mean"]]


def stale_configuration(m: Made) -> None:
    m.config = (
        f"agent:\n  gamma: {m.gamma}\n  actor_lr: 0.0001\n  critic_lr: 0.0003\ntrain:\n  steps: {m.steps}\n"
    )


def stand_still(m: Made) -> None:
    points = m.points["progress/speed_kmh"]
    n = len(points)
    m.points["progress/speed_kmh"] = [
        (s, w, 0.0 if 0.3 * n < i < 0.3 * n + max(7, 0.3 * n) else v) for i, (s, w, v) in enumerate(points)
    ]


def detach_actor(m: Made) -> None:
    for group in ("encoder", "head"):
        for when in ("before", "after"):
            m.put(f"gradients/actor_{group}_norm_{when}_clip", lambda p: 0.0)
    for name in ("actor_cnn", "actor"):
        for kind in ("mean", "std"):
            m.put(f"agent/{name}_param_{kind}", lambda p: 0.03)


def leave_out_of_optimiser(m: Made) -> None:
    for kind in ("mean", "std"):
        m.put(f"agent/actor_cnn_param_{kind}", lambda p: 0.0312)


def measure_late(m: Made) -> None:
    m.drop("agent/saturation", "agent/action", "agent/pre_tanh")
    for who in ("actor", "critic"):
        for group in ("encoder", "head"):
            for when in ("before", "after"):
                m.put(f"gradients/{who}_{group}_norm_{when}_clip", lambda p: 0.0)


def forget_terminals(m: Made) -> None:
    one_of_two = {"collision": 0.6, "off_road": 0.4}
    m.drop("train/termination")
    n = len(m.points["train/episode_length"])
    for name, share in one_of_two.items():
        m.points[f"train/termination_{name}"] = [(m.steps, m.wall(m.steps), float(round(share * n)))]
    m.put("debug/done_ratio", lambda p: 0.0)
    m.put("debug/effective_discount", lambda p: m.gamma)


def lose_features(m: Made) -> None:
    m.put("agent/feature_rank_actor", lambda p: 1.05)


def forget_target_encoders(m: Made) -> None:
    m.put("agent/target_drift_critic_encoder", lambda p: 0.0)
    m.put("agent/target_drift_actor_encoder", lambda p: 1.4)


def sum_norms_under_a_loose_clip(m: Made) -> None:
    """As av-td3 logs it: true norms before, sums after."""
    for who in ("actor", "critic"):
        for group in ("encoder", "head"):
            before = m.points[f"gradients/{who}_{group}_norm_before_clip"]
            after = m.points[f"gradients/{who}_{group}_norm_after_clip"]
            m.points[f"gradients/{who}_{group}_norm_after_clip"] = [(s, w, 2.2 * v) for s, w, v in after]
            assert len(before) == len(after)


def leave_encoder_out_of_the_clip(m: Made) -> None:
    """The encoder's norm after the clip is its norm before, a little above the limit."""
    for when in ("before", "after"):
        m.put(f"gradients/critic_encoder_norm_{when}_clip", lambda p: 14.0 + 4 * p)
    m.put("gradients/critic_head_norm_before_clip", lambda p: 3.0)
    m.put("gradients/critic_head_norm_after_clip", lambda p: 3.0)


def end_by_time_limits_that_terminate(m: Made) -> None:
    episodes = m.points["train/episode_length"]
    m.drop("train/termination")
    m.points["train/termination_time_limit"] = [(s, w, 1.0) for s, w, _ in episodes[::2]]
    m.points["train/termination_collision"] = [(s, w, 1.0) for s, w, _ in episodes[1::2]]
    ends = np.array([s for s, _, _ in episodes])
    m.points["debug/done_ratio"] = [(s, m.wall(s), float((ends <= s).sum()) / s) for s in m.rows()]
    m.points["debug/effective_discount"] = [
        (s, w, m.gamma * (1 - v)) for s, w, v in m.points["debug/done_ratio"]
    ]


def watch_a_bounded_norm(m: Made) -> None:
    """An alert on the norm after the clip, which can never reach its limit; both are logged beside it."""
    m.drop("alerts/")
    tags = [t for t in m.points if t.startswith("gradients/") and t.endswith("_after_clip")]
    rows = [max(m.points[t][i][2] for t in tags) for i in range(len(m.rows()))]
    values = iter(rows)
    m.put("alerts/gradient_explosion_value", lambda p: next(values))
    m.put("alerts/gradient_explosion_limit", lambda p: 10_000.0)
    for level in ("warning", "critical"):
        m.put(f"alerts/gradient_explosion_{level}", lambda p: 0.0)


def learn_nothing(m: Made) -> None:
    """The return scatters around one level from the first episode to the last."""
    m.drop("eval/")
    m.points["train/episode_reward"] = [
        (s, w, -80 * m.scale + 12 * m.scale * float(m.rng.normal()))
        for s, w, _ in m.points["train/episode_reward"]
    ]


def meet_no_reward(m: Made) -> None:
    m.drop("eval/", "debug/", "train/q", "train/actor_loss", "train/critic_loss", "rewards/")
    m.points["train/episode_reward"] = [(s, w, 0.0) for s, w, _ in m.points["train/episode_reward"]]


def freeze_policy(m: Made) -> None:
    rows = m.rows()
    m.points["eval/mean_reward"] = [
        (s, m.wall(s), -123.42 * m.scale) for s in rows[:: max(1, len(rows) // 12)]
    ]
    m.points["eval/success_rate"] = [(s, w, 0.0) for s, w, _ in m.points["eval/mean_reward"]]
    learn = m.points["train/episode_reward"]
    m.points["train/episode_reward"] = [
        (s, w, (-123 + 5 * float(m.rng.normal())) * m.scale) for s, w, _ in learn
    ]


def evaluate_elsewhere(m: Made) -> None:
    points = m.points["train/episode_reward"]
    n = len(points)
    m.points["train/episode_reward"] = [
        (s, w, m.scale * (100 + 4000 * i / n) * math.exp(float(m.rng.normal(0, 0.05))))
        for i, (s, w, _) in enumerate(points)
    ]
    m.drop("eval/", "debug/", "train/q", "train/actor_loss")
    rows = m.rows()
    m.points["eval/mean_reward"] = [
        (s, m.wall(s), m.scale * (80 + 400 * i / 12)) for i, s in enumerate(rows[:: max(1, len(rows) // 12)])
    ]


def lose_all_at_a_restart(m: Made) -> None:
    points = m.points["train/episode_reward"]
    at = points[len(points) // 2][0]
    m.points["train/episode_reward"] = [
        (s, w, m.scale * ((100 + 900 * s / at) if s <= at else 60.0) * math.exp(float(m.rng.normal(0, 0.05))))
        for s, w, _ in points
    ]
    m.drop("eval/", "debug/", "train/q", "train/actor_loss")
    m.points["progress/buffer_size"] = [
        (s, w, v if s <= at else v - at) for s, w, v in m.points["progress/buffer_size"]
    ]


def leak_memory(m: Made) -> None:
    m.put("system/rss_mb", lambda p: 2_000 + 60_000 * p + 50 * float(m.rng.normal()))


def stand_from_some_step_on(m: Made) -> None:
    points = m.points["progress/speed_kmh"]
    n = len(points)
    m.points["progress/speed_kmh"] = [
        (s, w, v if i < 0.3 * n else 0.05 * abs(float(m.rng.normal()))) for i, (s, w, v) in enumerate(points)
    ]


def leak_past_a_silent_head(m: Made) -> None:
    """Two rows are enough: the head's gradient is 0, its encoder's is not."""
    m.drop("agent/", "gradients/", "debug/actor_q", "train/actor_loss")
    rows = m.rows()[-2:]
    for group, norm in (("encoder", 1.0), ("head", 0.0)):
        tag = f"gradients/actor_{group}_norm_after_clip"
        m.points[tag] = [(s, m.wall(s), norm) for s in rows]


def _ppo(m: Made, kl: float, clipped: float, explained: float, entropy: Callable[[float], float]) -> None:
    """PPO as Stable-Baselines3 logs it, with returns that stay where they were."""
    m.points.clear()
    m.config = ""
    m.row, m.steps, m.learning_starts = 2048, 2048 * 120, 0
    noise = lambda: float(m.rng.normal())  # noqa: E731
    m.put("rollout/ep_rew_mean", lambda p: 20 + noise())
    m.put("train/approx_kl", lambda p: kl * (1 + 0.1 * noise()))
    m.put("train/clip_fraction", lambda p: clipped * (1 + 0.02 * noise()))
    m.put("train/explained_variance", lambda p: explained + 0.02 * noise())
    m.put("train/entropy_loss", lambda p: -entropy(p))
    m.put("train/value_loss", lambda p: 10 + noise())


def step_too_far(m: Made) -> None:
    _ppo(m, 0.8, 0.75, 0.4, lambda p: 0.7)


def clip_most_samples(m: Made) -> None:
    _ppo(m, 0.1, 0.8, 0.4, lambda p: 0.7)


def lose_entropy(m: Made) -> None:
    _ppo(m, 0.001, 0.01, 0.4, lambda p: 0.7 * math.exp(-40 * p))


def explain_nothing(m: Made) -> None:
    _ppo(m, 0.01, 0.1, -0.3, lambda p: 0.7)


def explain_no_targets(m: Made) -> None:
    """The error stays as large as the targets' spread."""
    m.put("debug/td_error_relative", lambda p: 1.1 + 0.05 * float(m.rng.normal()))
    m.put("train/explained_variance", lambda p: -0.1 + 0.02 * float(m.rng.normal()))


SICK: dict[str, list[Sickness]] = {
    "critic-not-learning": [explain_no_targets],
    "policy-step-too-large": [step_too_far, clip_most_samples],
    "entropy-collapse": [lose_entropy],
    "value-unexplained": [explain_nothing],
    "state-gradient-leak": [leak, leak_without_probe, leak_past_a_silent_head],
    "never-learns": [learn_nothing, meet_no_reward],
    "policy-frozen": [freeze_policy],
    "evaluation-gap": [evaluate_elsewhere],
    "restart-collapse": [lose_all_at_a_restart],
    "memory-growth": [leak_memory],
    "actor-saturated": [saturate, saturate_unlogged, pin_actions],
    "head-starved": [starve],
    "grad-norm-summed": [sum_norms, sum_norms_under_a_loose_clip],
    "clip-not-applied": [no_clip, leave_encoder_out_of_the_clip],
    "clip-always-active": [clip_always],
    "alert-unreachable": [dead_alerts, watch_a_bounded_norm],
    "q-explosion": [explode_q],
    "q-above-reward-bound": [above_bound],
    "critic-divergence": [diverge],
    "twin-disagreement": [part_twins],
    "reward-degrading": [degrade],
    "episode-collapse": [collapse],
    "single-cause-termination": [one_cause, one_lane_invasion_each],
    "no-exploration": [stop_exploring],
    "run-interrupted": [interrupt],
    "run-frozen": [freeze],
    "throughput-stall": [slow_down, hang_once],
    "nan-or-inf": [poison],
    "axis-mixed": [index_by_episode],
    "metric-missing": [forget_metrics],
    "hyperparameter-off-reference": [odd_gamma],
    "evaluation-missing": [forget_evaluation],
    "reward-imbalance": [drown, scale_reward],
    "target-clamp-active": [clamp],
    "stale-build": [stale_configuration],
    "agent-standstill": [stand_still, stand_from_some_step_on],
    "gradient-missing": [detach_actor],
    "parameters-frozen": [leave_out_of_optimiser],
    "gradient-measured-late": [measure_late],
    "terminal-flag-wrong": [forget_terminals, end_by_time_limits_that_terminate],
    "target-encoders-missing": [forget_target_encoders],
    "representation-collapse": [lose_features],
}
"""Finding -> the sicknesses that must be reported as it, before anything else."""
