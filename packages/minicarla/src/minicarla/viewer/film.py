"""Films of a running simulator: one frame for each tick, H.264 in an mp4 file."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from minicarla.viewer.source import FAILURES, WatchedSimulator, picture
from minicarla.wire import stream

PATIENCE = 10.0
"""Seconds without a frame after which the film ends: the simulator has gone, or nobody ticks it."""
WAITING = 64
"""Frames that may wait for the encoder.  When they are more, the simulator drops frames."""


class FilmError(RuntimeError):
    """The film cannot be made; the message says why."""


def record(
    source: WatchedSimulator,
    path: Path,
    *,
    camera: int | None,
    size: tuple[int, int],
    fps: int,
    seconds: float | None,
    stopped: Callable[[], bool],
) -> tuple[int, int]:
    """Film a camera until ``stopped`` says so or the film is long enough.

    camera: an actor id; None films a chase camera behind the ego vehicle.
    size: width and height of the chase camera, pixels.
    seconds: length of the film at ``fps``; None: without limit.

    The file appears under its name once it is complete.  Returns its number of frames, and the number of
    ticks between its first and its last frame that have no frame.

    Raises:
        FilmError: there is no such camera, no frame came, or the file cannot be written.
    """
    messages: queue.Queue[bytes] = queue.Queue(WAITING)
    try:
        if camera is None:
            _chase(source, size, messages.put, stopped)
        else:
            source.watch(camera, messages.put)
    except FAILURES as error:
        raise FilmError(str(error)) from None
    partial = path.with_name(f".{path.stem}.partial.mp4")
    ffmpeg: subprocess.Popen[bytes] | None = None
    frames, last = 0, time.monotonic()
    first_tick = last_tick = 0
    try:
        while not stopped() and (seconds is None or frames < seconds * fps):
            try:
                message = messages.get(timeout=0.2)
            except queue.Empty:
                if time.monotonic() - last > PATIENCE or source.problem is not None:
                    break
                continue
            frame, last_tick = _even(picture(message)), stream.parse_header(message).frame
            last = time.monotonic()
            if ffmpeg is None:
                first_tick = last_tick
                ffmpeg, shape = _start(partial, frame, fps), frame.shape
            if frame.shape != shape:
                raise FilmError("the camera's pictures have changed their size")
            assert ffmpeg.stdin is not None
            ffmpeg.stdin.write(frame.data)
            frames += 1
        if ffmpeg is None:
            raise FilmError(
                "no frame came"
                + (f": {source.problem}" if source.problem else ": nobody ticks the simulator")
            )
        _finish(ffmpeg, partial, path)
        return frames, last_tick - first_tick + 1 - frames
    except OSError as error:
        reason = _why(ffmpeg) if isinstance(error, BrokenPipeError) else error.strerror
        raise FilmError(f"cannot write {path}: {reason}") from None
    finally:
        if ffmpeg is not None and ffmpeg.poll() is None:
            ffmpeg.kill()
            ffmpeg.wait()
        partial.unlink(missing_ok=True)


def _chase(
    source: WatchedSimulator,
    size: tuple[int, int],
    taken: Callable[[bytes], None],
    stopped: Callable[[], bool],
) -> None:
    """Read the chase camera behind the ego vehicle, as soon as there is a vehicle."""
    began = time.monotonic()
    while not stopped():
        source.state()  # learns of the actors
        ego = source.ego()
        if ego is not None:
            made = source.chase(ego, size)
            if made is not None:
                return source.watch(made, taken)
        if time.monotonic() - began > PATIENCE:
            raise FilmError("there is no vehicle to follow: spawn one, or give --camera")
        time.sleep(0.1)


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB, without a last odd row or column: 4:2:0 colour needs even sizes."""
    height, width = frame.shape[0] & ~1, frame.shape[1] & ~1
    return np.ascontiguousarray(cv2.cvtColor(frame[:height, :width], cv2.COLOR_BGR2RGB), np.uint8)


def _start(path: Path, frame: NDArray[np.uint8], fps: int) -> subprocess.Popen[bytes]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo"]
    command += ["-pix_fmt", "rgb24", "-s", f"{frame.shape[1]}x{frame.shape[0]}", "-r", str(fps), "-i", "-"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    # In a session of its own, so that Ctrl-C does not end the encoder before the file is complete.
    return subprocess.Popen(
        [*command, str(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def _finish(ffmpeg: subprocess.Popen[bytes], partial: Path, path: Path) -> None:
    assert ffmpeg.stdin is not None
    ffmpeg.stdin.close()
    if ffmpeg.wait(60) != 0:
        raise FilmError(f"cannot write {path}: {_why(ffmpeg)}")
    partial.replace(path)


def _why(ffmpeg: subprocess.Popen[bytes] | None) -> str:
    if ffmpeg is None or ffmpeg.stderr is None:
        return "the encoder did not start"
    with contextlib.suppress(subprocess.TimeoutExpired):
        ffmpeg.wait(5)
    lines = ffmpeg.stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "the encoder ended"
