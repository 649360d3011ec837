"""Films of episodes: what the simulator shows, what the agent sees, what it does.

H.264 through the ffmpeg binary that ``imageio-ffmpeg`` brings along; needs no display.  A
file appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from av_td3.config import STEP_SECONDS
from av_td3.evaluation.rollout import Action, DrivenEnv, EpisodeRecord, Observation

Frame = NDArray[np.uint8]
Colour = tuple[int, int, int]

FPS = round(1 / STEP_SECONDS)
WIDTH, PANEL = 640, 72
"""Width of a film in pixels, and the height of the panel of figures under the picture."""
HOLD_S = 1.0
"""Seconds for which the last picture stands."""
_WHITE, _GRAY, _BACK = (235, 235, 235), (120, 120, 120), (24, 24, 28)
_GREEN, _RED, _BLUE = (90, 200, 110), (225, 80, 70), (90, 160, 235)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class VideoError(RuntimeError):
    """A video that could not be written; the message says why."""


class VideoWriter:
    """Writes RGB frames of one size to an H.264 mp4 file.

    A context manager: leaving it without an exception completes the file, an exception
    discards it.  Odd sizes lose a row or column of pixels, which 4:2:0 colour needs.
    """

    def __init__(self, path: Path, fps: float = FPS) -> None:
        self.path = path
        self.frames = 0
        self._fps = fps
        self._partial = path.with_name(f".{path.stem}.partial.mp4")
        self._ffmpeg: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._shape: tuple[int, ...] = ()

    def add(self, frame: Frame) -> None:
        """Append one (height, width, 3) uint8 RGB frame.

        Raises:
            VideoError: another size than the first, or ffmpeg failed.
        """
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise VideoError(f"a frame is uint8 (height, width, 3), not {frame.dtype} {frame.shape}")
        if self._ffmpeg is None:
            self._shape = frame.shape
            self._ffmpeg = self._start()
        if frame.shape != self._shape:
            raise VideoError(f"frame {self.frames} has shape {frame.shape}, the first had {self._shape}")
        height, width = _even(self._shape)
        assert self._ffmpeg.stdin is not None
        try:
            self._ffmpeg.stdin.write(np.ascontiguousarray(frame[:height, :width]).data)
        except OSError:
            raise VideoError(f"cannot write {self.path}: {self._stop()}") from None
        self.frames += 1

    def close(self) -> Path | None:
        """Complete the file; None (and no file) when no frame was added.

        Raises:
            VideoError: ffmpeg failed; there is no file.
        """
        if self._ffmpeg is None:
            return None
        problem = self._stop()
        if problem:
            raise VideoError(f"cannot write {self.path}: {problem}")
        os.replace(self._partial, self.path)
        return self.path

    def discard(self) -> None:
        """Stop and leave nothing behind."""
        if self._ffmpeg is not None:
            self._ffmpeg.kill()
            self._stop()
        self._remove()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _start(self) -> subprocess.Popen[bytes]:
        height, width = _even(self._shape)
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{self._fps:g}"]
        # One thread: simulator and agent need the others.  faststart: plays in browsers while loading.
        target = ["-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-threads", "1"]
        target += ["-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        command = [_ffmpeg(), "-y", "-v", "error", *source, "-i", "-", *target, str(self._partial)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _stop
            # A session of its own: Ctrl-C is ours to handle, not ffmpeg's.
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            raise VideoError(f"cannot write {self.path}: {error}") from None

    def _stop(self) -> str:
        """End ffmpeg; empty when it succeeded, else why not (and the unfinished file is gone)."""
        process, self._ffmpeg = self._ffmpeg, None
        log, self._log = self._log, None
        assert process is not None and process.stdin is not None and log is not None
        with contextlib.suppress(OSError):  # it may have gone already
            process.stdin.close()
        status = process.wait()
        with log:
            log.seek(0)
            lines = log.read().decode(errors="replace").split("\n")
        if status == 0:
            return ""
        self._remove()
        last = [line.strip() for line in lines if line.strip()][-1:]
        return last[0] if last else f"ffmpeg ended with status {status}"

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # there may be no such file
            self._partial.unlink()


def _even(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[0] // 2 * 2, shape[1] // 2 * 2


def _ffmpeg() -> str:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise VideoError(f"no ffmpeg: {error}") from None


class VideoRecorder:
    """Films episodes of :func:`rollout.evaluate`; pass it as ``record``.

    Args:
        path: the film of one episode; a name with ``{episode}`` makes one file each.
        episodes: indices of the episodes to film; the first by default.
        worst: also film the worst episode, as ``NAME-worst.mp4``.  Which one that is, is known at the
            end only, so it is driven again.  On minicarla the same seed gives the same episode.
        title: the agent's name, shown in the panel.
        on_error: takes a message when a film fails, and the evaluation goes on without it.  None: raise.

    Raises:
        VideoError: from the methods, when a film fails and there is no ``on_error``.
    """

    def __init__(
        self,
        path: Path,
        episodes: Container[int] = (0,),
        title: str = "",
        on_error: Callable[[str], None] | None = None,
        worst: bool = True,
    ) -> None:
        self._path, self._episodes, self._title, self._on_error = path, episodes, title, on_error
        self._film_worst = worst
        self._again: EpisodeRecord | None = None
        self._writer: VideoWriter | None = None
        self._frame: Frame | None = None
        self._return = 0.0
        self._fps: float = FPS
        self.files: list[Path] = []
        """Films that were completed."""

    def wants(self, index: int) -> bool:
        """Whether this episode is filmed."""
        return self._again is not None or index in self._episodes

    def wants_again(self, episodes: Sequence[EpisodeRecord]) -> int | None:
        """The index of the worst episode, to be driven and filmed again; None when there is no need to."""
        index = min(range(len(episodes)), key=lambda k: _quality(episodes[k]))
        if not self._film_worst or index in self._episodes:
            return None
        self._again = episodes[index]
        return index

    def begin(self, index: int, env: DrivenEnv, observation: Observation) -> None:
        """An episode starts."""
        self._writer, self._frame, self._return = None, None, 0.0
        if self.wants(index):
            self._fps = env.metadata.get("render_fps", FPS)
            self._writer = VideoWriter(self._file(index), self._fps)

    def step(
        self,
        env: DrivenEnv,
        observation: Observation,
        action: Action,
        reward: float,
        info: Mapping[str, Any],
    ) -> None:
        """A step was made; ``env.render()`` must return an RGB picture."""
        self._return += reward
        if self._writer is None:
            return
        picture = cast("Frame | None", env.render())
        if picture is None:
            self._fail('the environment renders nothing: make it with render_mode="rgb_array"')
            return
        self._frame = compose(picture, observation, action, reward, self._return, info, self._title)
        try:
            self._writer.add(self._frame)
        except VideoError as error:
            self._fail(str(error))

    def end(self, record: EpisodeRecord | None) -> None:
        """The episode is over; None: the simulator broke it off, and its film is discarded."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        if record is None:
            writer.discard()
            return
        try:
            if self._frame is not None:
                for _ in range(round(HOLD_S * self._fps)):  # time to see how it ended
                    writer.add(self._frame)
            path = writer.close()
        except VideoError as error:
            self._fail(str(error))
            return
        if path is not None:
            self.files.append(path)
        if self._again is not None and not _same_drive(self._again, record) and self._on_error is not None:
            self._on_error(
                f"{path} shows another drive of the worst episode's route: this simulator does not repeat an "
                f"episode exactly (it had ended by {self._again.termination}, now by {record.termination})"
            )

    def _file(self, index: int) -> Path:
        name = self._path.name
        if self._again is None:
            return self._path.with_name(name.replace("{episode}", str(index)))
        if "{episode}" in name:
            return self._path.with_name(name.replace("{episode}", "worst"))
        return self._path.with_name(f"{self._path.stem}-worst{self._path.suffix}")

    def _fail(self, message: str) -> None:
        if self._writer is not None:
            self._writer.discard()
            self._writer = None
        if self._on_error is None:
            raise VideoError(message)
        self._on_error(message)


def _quality(record: EpisodeRecord) -> tuple[float, float]:
    return record.route_completion, record.episode_return


def _same_drive(a: EpisodeRecord, b: EpisodeRecord) -> bool:
    return replace(a, attempts=1) == replace(b, attempts=1)


def compose(
    picture: Frame,
    observation: Observation,
    action: Action,
    reward: float,
    total: float,
    info: Mapping[str, Any],
    title: str = "",
) -> Frame:
    """One (height + PANEL, WIDTH, 3) frame: the picture, the agent's view in its corner, figures below.

    ``picture`` is scaled to WIDTH; the height follows from its shape.
    """
    height = round(picture.shape[0] * WIDTH / picture.shape[1] / 2) * 2
    frame = np.empty((height + PANEL, WIDTH, 3), np.uint8)
    how = cv2.INTER_AREA if picture.shape[1] > WIDTH else cv2.INTER_CUBIC
    frame[:height] = cv2.resize(picture, (WIDTH, height), interpolation=how)
    _inset(frame[:height], np.asarray(observation["image"])[-1])
    panel = frame[height:]
    panel[:] = _BACK
    steer, pedal = float(action[0]), float(action[1])
    completion = float(info["route_completion"])
    _text(panel, f"{info['speed_kmh']:5.1f} km/h", (12, 28), 0.7)
    _text(panel, f"route {100 * completion:3.0f} %", (12, 56), 0.5, _GRAY)
    _bar(panel, (150, 14), 170, "steer", steer, _BLUE)
    _bar(panel, (150, 42), 170, "throttle" if pedal >= 0 else "brake", pedal, _GREEN if pedal >= 0 else _RED)
    _text(panel, f"reward {reward:+6.2f}", (420, 26), 0.5)
    _text(panel, f"return {total:+7.1f}", (420, 54), 0.5)
    _text(panel, title[:12], (540, 26), 0.45, _GRAY)
    ended = info.get("termination")
    if ended:
        _text(panel, str(ended), (540, 54), 0.45, _GREEN if ended == "success" else _RED)
    panel[:3, : round(completion * WIDTH)] = _GREEN
    return frame


def _inset(frame: Frame, view: Frame) -> None:
    """The newest picture of the agent's stack, its own pixels kept visible, in the upper right corner."""
    scale = max(1, frame.shape[0] // 2 // view.shape[0])
    if (view.shape[0] * scale + 14) > frame.shape[0]:
        return  # a picture too small to hold another
    big = np.repeat(np.repeat(view, scale, 0), scale, 1)[:, :, None]
    height, width = big.shape[:2]
    x, y = WIDTH - width - 10, 10
    frame[y - 2 : y + height + 2, x - 2 : x + width + 2] = _WHITE
    frame[y : y + height, x : x + width] = big


def _bar(panel: Frame, at: tuple[int, int], width: int, label: str, value: float, colour: Colour) -> None:
    """A bar about its middle: value in [-1, 1]."""
    x, y = at
    middle, half = x + 74 + width // 2, width // 2
    _text(panel, label, (x, y + 11), 0.45, _GRAY)
    cv2.rectangle(panel, (middle - half, y), (middle + half, y + 14), _GRAY, 1)
    end = middle + round(max(-1.0, min(1.0, value)) * (half - 1))
    cv2.rectangle(panel, (min(middle, end), y + 2), (max(middle, end), y + 12), colour, -1)
    cv2.line(panel, (middle, y), (middle, y + 14), _WHITE, 1)


def _text(panel: Frame, text: str, at: tuple[int, int], size: float, colour: Colour = _WHITE) -> None:
    cv2.putText(panel, text, at, _FONT, size, colour, 1, cv2.LINE_AA)
