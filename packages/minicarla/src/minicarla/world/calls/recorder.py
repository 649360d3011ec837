"""Recording and replaying; see :mod:`minicarla.world.recording.file` for the format."""

from __future__ import annotations

from collections.abc import Callable

from minicarla.wire import structs
from minicarla.world.calls.registry import PARTIAL, Call, procedure
from minicarla.world.outlet import CarlaError
from minicarla.world.recording import RecordingError, reports
from minicarla.world.recording.file import NoSuchRecordingError, NotARecordingError

_FORMAT = "the file has a format of minicarla's own; its name ends in .log or .rec"
_REPORT = "CARLA's text, about a file in minicarla's own format"


@procedure(PARTIAL, _FORMAT)
def start_recorder(call: Call, name: str, additional_data: bool = False) -> str:
    try:
        return call.world.recorder.start(name, call.episode, additional_data)
    except RecordingError as error:
        raise CarlaError(str(error)) from None


@procedure()
def stop_recorder(call: Call) -> None:
    call.world.recorder.stop()


@procedure(PARTIAL, _REPORT)
def show_recorder_file_info(call: Call, name: str, show_all: bool) -> str:
    return _text(name, lambda: reports.describe(name, show_all))


@procedure(PARTIAL, _REPORT)
def show_recorder_collisions(call: Call, name: str, type1: int, type2: int) -> str:
    return _text(name, lambda: reports.collisions(name, chr(type1 & 0x7F), chr(type2 & 0x7F)))


@procedure(PARTIAL, _REPORT)
def show_recorder_actors_blocked(call: Call, name: str, min_time: float, min_distance: float) -> str:
    return _text(name, lambda: reports.blocked(name, min_time, min_distance))


@procedure(PARTIAL, _FORMAT)
def replay_file(
    call: Call,
    name: str,
    time_start: float,
    duration: float,
    follow_id: int,
    replay_sensors: bool = False,
    offset: structs.Transform = structs.Transform(
        structs.Vector3D(-10.0, 0.0, 5.0), structs.Rotation(-25.0, 0.0, 0.0)
    ),
) -> str:
    return _text(
        name,
        lambda: call.world.replay(name, time_start, duration, follow_id, replay_sensors, offset.pose),
    )


def _text(name: str, make: Callable[[], str]) -> str:
    """The text of a call.  As in CARLA, it also says when a file is missing or not a recording."""
    try:
        return make()
    except NoSuchRecordingError:
        return f"File {name} not found on server\n"
    except NotARecordingError:
        return "File is not a CARLA recorder\n"
    except RecordingError as error:
        raise CarlaError(str(error)) from None


@procedure()
def stop_replayer(call: Call, keep_actors: bool) -> None:
    call.world.recorder.stop_replay(keep_actors)


@procedure()
def set_replayer_time_factor(call: Call, time_factor: float) -> None:
    if not 0.0 <= time_factor <= 100.0:
        raise CarlaError(f"the time factor of a replay cannot be {time_factor}")
    call.world.recorder.options.time_factor = time_factor


@procedure()
def set_replayer_ignore_hero(call: Call, ignore_hero: bool) -> None:
    call.world.recorder.options.ignore_hero = ignore_hero


@procedure()
def set_replayer_ignore_spectator(call: Call, ignore_spectator: bool) -> None:
    call.world.recorder.options.ignore_spectator = ignore_spectator
