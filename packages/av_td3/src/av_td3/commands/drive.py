"""``av-td3 drive``: watch an agent drive."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import tempfile
import time
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from typing_extensions import Unpack

from av_td3.commands.changes import Changes, changed
from av_td3.commands.common import check_before_start
from av_td3.commands.evaluate import introduce
from av_td3.commands.terminal import say
from av_td3.config import Config, parse_address
from av_td3.errors import BAD_INPUT, INTERRUPTED, OK, UserError
from av_td3.evaluation import rollout
from av_td3.evaluation.rollout import Action, DrivenEnv, EpisodeRecord, Observation
from av_td3.evaluation.video import FPS, HOLD_S, Frame, VideoError, VideoWriter, compose
from av_td3.supervision.launcher import free_port
from av_td3.supervision.process import Child
from av_td3.supervision.supervised import SupervisedEnv
from av_td3.training.signals import terminable
from av_td3.training.sources import find_agent

EPISODES = 5
"""Routes that are driven when nothing else is asked for; with a live page it goes on until Ctrl-C."""
LIVE_PORT = 8080
"""TCP port of the live page, or the next one that is free."""
LIVE_DEADLINE_S = 20.0


def drive(
    name: str,
    *,
    video: Path | None = None,
    live: bool = False,
    episodes: int | None = None,
    seed: int | None = None,
    **changes: Unpack[Changes],
) -> int:
    """Let an agent drive held-out routes, one after the other; returns the exit status.

    Args:
        name: a shipped agent or a run directory.
        video: film of the whole drive.
        live: show it on a web page while it happens, in real time.
        episodes: routes; None for five, or with ``live`` until Ctrl-C.
        seed: of the first route; None for that of the agent's evaluations.
        **changes: settings that replace those of the agent.

    Raises:
        ShippedAgentError, RunError, ConfigError, CheckpointError: there is no such agent or setting.
        DrivingError: the simulator cannot serve this, or failed too often in a row.
        UserError: the film cannot be written.
    """
    with terminable():
        if video is not None and (video.suffix != ".mp4" or not video.absolute().parent.is_dir()):
            raise UserError(
                f"--video {video}: give the name of an .mp4 file in a folder that exists", BAD_INPUT
            )
        source = find_agent(name)
        config = changed(source.config, **changes)
        check_before_start(config)
        console = Console()
        introduce(source, console)
        policy = source.policy(source.load(config))
        endless = live and episodes is None
        seeds = itertools.count(config.evaluation.seed if seed is None else seed)
        journey = Journey(config.env.step_seconds)
        film = Film(video, source.title) if video is not None else None
        render_mode = "rgb_array" if film is not None else None
        try:
            with (
                contextlib.closing(SupervisedEnv(config.env, "held_out", render_mode=render_mode)) as env,
                LivePage(env, console) if live else contextlib.nullcontext() as page,
            ):
                driver = Driver(policy, journey, page, config)
                chosen = seeds if endless else itertools.islice(seeds, episodes or EPISODES)
                for episode in chosen:
                    record = rollout.evaluate(env, driver, 1, episode, record=film).episodes[0]
                    journey.finished(record)
                    say(console, in_words(record))
        except KeyboardInterrupt:
            interrupted = True
        except VideoError as error:
            raise UserError(str(error), 1) from None
        else:
            interrupted = False
        finally:
            if film is not None:
                film.close()
        say(console, journey.in_words())
        if film is not None and film.file is not None:
            say(console, f"video: {film.file}")
        return INTERRUPTED if interrupted and not endless else OK


def in_words(e: EpisodeRecord) -> str:
    """One line for one route."""
    parts = [
        f"{e.route or 'route'}: {e.termination.replace('_', ' ')}",
        f"{100 * e.route_completion:.0f} % of {e.route_length_m:.0f} m",
        f"{e.mean_speed_kmh:.0f} km/h",
        f"{e.mean_abs_lateral_deviation_m:.2f} m off centre",
    ]
    for count, what in ((e.collisions, "collision"), (e.red_lights_run, "red light")):
        if count:
            parts.append(f"{count} {what}{'s' if count > 1 else ''}")
    return ", ".join(parts)


@dataclass
class Journey:
    """What was driven in all, the episode that was broken off included."""

    step_seconds: float
    steps: int = 0
    metres: float = 0.0
    records: list[EpisodeRecord] = field(default_factory=list)
    _completion: float | None = None
    """Of the episode that is being driven."""

    def step(self, info: Mapping[str, Any]) -> None:
        """``info`` of a reset or a step; a reset covers no distance."""
        if info["frame"] > 0:
            self.steps += 1
            self.metres += float(info["distance_m"])
        self._completion = float(info["route_completion"])

    def finished(self, record: EpisodeRecord) -> None:
        """An episode came to its end."""
        self.records.append(record)
        self._completion = None

    def in_words(self) -> str:
        """One sentence."""
        minutes, seconds = divmod(round(self.steps * self.step_seconds), 60)
        arrived = sum(r.success for r in self.records)
        collisions = sum(r.collisions for r in self.records)
        text = (
            f"drove {self.metres / 1000:.2f} km in {minutes}:{seconds:02d} of simulated time: "
            f"arrived on {arrived} of {len(self.records)} routes, {collisions} collisions"
        )
        if self._completion is not None:
            text += f"; the last route was left at {100 * self._completion:.0f} %"
        return text + "."


class Driver:
    """The policy, which keeps the journal and, with a live page, the pace of the clock on the wall."""

    def __init__(
        self, policy: rollout.Policy, journey: Journey, page: LivePage | None, config: Config
    ) -> None:
        self._policy, self._journey, self._page = policy, journey, page
        self._step_seconds = config.env.step_seconds
        self._due = 0.0

    def reset(self, seed: int) -> None:
        """An episode begins."""
        if self._page is not None:
            self._page.follow()
        self._due = time.monotonic()

    def watch(self, info: Mapping[str, Any]) -> None:
        """``info`` of a reset or a step."""
        self._journey.step(info)

    def __call__(self, observation: Observation) -> Action:
        action = self._policy(observation)
        if self._page is not None:
            now = time.monotonic()
            time.sleep(max(0.0, self._due - now))
            # A machine that is too slow falls behind; it does not race to catch up afterwards.
            self._due = max(self._due, now) + self._step_seconds
        return action


class Film:
    """Everything that is driven in one film; an :class:`~av_td3.evaluation.rollout.EpisodeRecorder`.

    Raises:
        VideoError: from each method, when the film cannot be written.
    """

    def __init__(self, path: Path, title: str) -> None:
        self._path, self._title = path, title
        self._writer: VideoWriter | None = None
        self._frame: Frame | None = None
        self._fps: float = FPS
        self._return = 0.0
        self.file: Path | None = None
        """The film, once it is complete."""

    def wants(self, index: int) -> bool:
        return True

    def wants_again(self, episodes: Sequence[EpisodeRecord]) -> None:
        return None

    def begin(self, index: int, env: DrivenEnv, observation: Observation) -> None:
        """An episode starts."""
        self._return = 0.0
        if self._writer is None:
            self._fps = env.metadata.get("render_fps", FPS)
            self._writer = VideoWriter(self._path, self._fps)

    def step(
        self, env: DrivenEnv, observation: Observation, action: Action, reward: float, info: Mapping[str, Any]
    ) -> None:
        """A step was made."""
        assert self._writer is not None
        self._return += reward
        picture = cast("Frame", env.render())
        self._frame = compose(picture, observation, action, reward, self._return, info, self._title)
        self._writer.add(self._frame)

    def end(self, record: EpisodeRecord | None) -> None:
        """The episode is over, or was broken off: the last picture stands for a moment."""
        if self._writer is not None and self._frame is not None and record is not None:
            for _ in range(round(HOLD_S * self._fps)):
                self._writer.add(self._frame)

    def close(self) -> None:
        """Complete the film."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self.file = writer.close()


class LivePage:
    """The simulator's own viewer (``minicarla view``), which shows an environment while it is driven."""

    def __init__(self, env: SupervisedEnv, console: Console) -> None:
        self._env, self._console = env, console
        self._viewer: Child | None = None
        self._watched: str | None = None
        self._log = tempfile.TemporaryDirectory(prefix="av_td3_view_")
        self.url: str | None = None
        """Of the page; None before the first episode, and when it could not be started."""

    def __enter__(self) -> LivePage:
        return self

    def __exit__(self, *_: object) -> None:
        if self._viewer is not None:
            self._viewer.stop(grace_s=2.0)
        self._log.cleanup()

    def follow(self) -> None:
        """Watch the simulator that the environment has now; it is another one after a failure."""
        address = self._env.server_address
        if address is None or address == self._watched:
            return
        first, self._watched = self._watched is None, address
        if self._viewer is not None:
            self._viewer.stop(grace_s=2.0)
        host, port = parse_address(address)
        page = free_port(LIVE_PORT)
        command = [sys.executable, "-m", "minicarla", "view", "--host", host, "--port", str(port)]
        self._viewer = Child([*command, "--http-port", str(page)], Path(self._log.name) / "viewer.log")
        self.url = f"http://127.0.0.1:{page}/?camera=chase&follow=ego"
        if not self._is_there(self._viewer):
            say(self._console, f"there is no live page: {self._viewer.output()[-300:]}")
            self.url = None
            return
        say(self._console, f"live: {self.url}")
        if first:
            open_page(self.url)

    @staticmethod
    def _is_there(viewer: Child) -> bool:
        deadline = time.monotonic() + LIVE_DEADLINE_S
        while time.monotonic() < deadline and viewer.exit_status is None:
            if "watching" in viewer.output():
                return True
            time.sleep(0.05)
        return False


def open_page(url: str) -> None:
    """Show a page in the user's browser, if there is a display: one in the terminal would be in the way."""
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)


__all__ = ["drive"]
