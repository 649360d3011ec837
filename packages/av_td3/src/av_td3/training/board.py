"""What TensorBoard shows besides curves: the settings of a run, its evaluations as table, picture and film.

Each function makes values of a ``Summary`` message.  The messages of the tab HPARAMS are those of
``tensorboard/plugins/hparams/plugin_data.proto``; torch's ``add_hparams`` would make another run of them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from av_td3.config import Config, flat
from av_td3.training.run_directory import RunDirectory
from rundoctor.signals import evaluation

FILM_BYTES = 3_000_000
"""Most that a film takes in the event file."""
ROUTES = "evaluation/routes"
"""Tag of the pictures of evaluations."""
_FRAMES, _FPS, _WIDTH = 80, 8, 320
"""Pictures of a film, spread evenly over it; how many of them a second are shown; pixels."""

FIRST = ("agent.batch_size", "env.simulator.map", "env.simulator.npc", "train.seed", "train.steps")
"""The settings whose columns the tab HPARAMS begins with: it shows five until others are ticked."""
FIGURES: dict[str, str] = {
    evaluation.ROUTE_COMPLETION.tag: "route completion",
    evaluation.SUCCESS.tag: "success rate",
    evaluation.FIGURE.of("driving_score"): "driving score",
    evaluation.RETURN.tag: "return",
    evaluation.FIGURE.of("collisions_per_km"): "collisions per km",
    evaluation.FIGURE.of("red_lights_per_km"): "red lights per km",
    evaluation.FIGURE.of("speed_kmh"): "speed, km/h",
}
"""The figures of the tab HPARAMS, by tag: TensorBoard takes the last value of each curve."""


def settings(config: Config) -> list[Summary.Value]:
    """The run's configuration and the names of its figures, for the tab HPARAMS."""
    given = {key: value for key, value in flat(config.model_dump(mode="json")).items() if value is not None}
    experiment = api_pb2.Experiment(
        # TensorBoard puts those that "differ" between runs to the front, in the order of their names.
        hparam_infos=[
            api_pb2.HParamInfo(name=key, type=_kind(value), differs=key in FIRST)
            for key, value in given.items()
        ],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=title)
            for tag, title in FIGURES.items()
        ],
    )
    start = plugin_data_pb2.SessionStartInfo()
    for key, value in given.items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, (int, float)):
            start.hparams[key].number_value = value
        else:
            start.hparams[key].string_value = str(value)
    return [
        _hparams(metadata.EXPERIMENT_TAG, experiment=experiment),
        _hparams(metadata.SESSION_START_INFO_TAG, session_start_info=start),
    ]


def ending(wall_time: float) -> Summary.Value:
    """The run has finished, for the tab HPARAMS; ``wall_time`` in seconds since 1970."""
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=wall_time)
    return _hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def text(tag: str, markdown: str) -> Summary.Value:
    """A text, which TensorBoard shows as Markdown."""
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(
            dtype=DT_STRING,
            string_val=[markdown.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        ),
    )


def picture(tag: str, file: Path) -> Summary.Value:
    """A PNG as it lies on the disk.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no picture.
    """
    data = file.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{file} is no picture")
    height, width = pixels.shape[:2]
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
    return Summary.Value(tag=tag, image=image)


def film(tag: str, file: Path) -> Summary.Value:
    """A film as an animated GIF, small and quick: TensorBoard plays no other.

    Raises:
        ValueError: ffmpeg cannot read it, or the GIF would be larger than ``FILM_BYTES``.
        OSError: ffmpeg cannot be started.
    """
    try:
        _, seconds = imageio_ffmpeg.count_frames_and_secs(str(file))
    except RuntimeError as error:
        raise ValueError(f"{file} is no film: {str(error).strip()[-200:]}") from None
    rate = min(_FPS, _FRAMES / max(seconds, 1e-3))
    for colours in (64, 16):  # a film with much detail is made coarser
        filters = (
            f"fps={rate:.4f},scale={_WIDTH}:-2:flags=area,setpts=N/{_FPS}/TB,split[a][b];"
            f"[a]palettegen=max_colors={colours}[p];[b][p]paletteuse=dither=none"
        )
        options = ["-v", "error", "-threads", "1", "-i", str(file), "-filter_complex", filters]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *options, "-r", str(_FPS), "-f", "gif", "-"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode:
            raise ValueError(f"{file} is no film: {done.stderr.decode(errors='replace').strip()[-200:]}")
        if len(done.stdout) <= FILM_BYTES:
            width, height = np.frombuffer(done.stdout, "<u2", 2, 6).tolist()
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=done.stdout)
            return Summary.Value(tag=tag, image=image)
    raise ValueError(f"{file} is too large for TensorBoard")


def evaluated(run: RunDirectory, tell: Callable[[str], None]) -> list[Summary.Value]:
    """The final evaluation of a run as table, picture and films, as far as its files are there.

    ``tell`` takes a line for the user about what cannot be shown.
    """
    found: list[Summary.Value] = []
    table, routes = run.evaluations / "final.md", run.evaluations / "final.png"
    try:
        if table.exists():
            found.append(text("evaluation/table", table.read_text()))
        if routes.exists():
            found.append(picture(ROUTES, routes))
        for name in ("final", "final-worst"):
            if (run.videos / f"{name}.mp4").exists():
                found.append(film(f"evaluation/film/{name}", run.videos / f"{name}.mp4"))
    except (OSError, ValueError) as error:
        tell(f"warning: TensorBoard does not show everything of the final evaluation: {error}")
    return found


def figures(row: Mapping[str, float]) -> Iterable[Summary.Value]:
    """Scalars by tag."""
    return (Summary.Value(tag=tag, simple_value=value) for tag, value in row.items())


def _kind(value: Any) -> Any:
    if isinstance(value, bool):
        return api_pb2.DATA_TYPE_BOOL
    return api_pb2.DATA_TYPE_FLOAT64 if isinstance(value, (int, float)) else api_pb2.DATA_TYPE_STRING


def _hparams(tag: str, **content: Any) -> Summary.Value:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR)
