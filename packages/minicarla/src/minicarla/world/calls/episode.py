"""Episode, settings, clock, map, weather."""

from __future__ import annotations

from typing import Any

from minicarla import CARLA_VERSION
from minicarla.wire import debug, stream, structs
from minicarla.world import survey
from minicarla.world.calls.registry import IGNORED, PARTIAL, Call, absent, procedure
from minicarla.world.map_objects import Layer
from minicarla.world.outlet import CarlaError
from minicarla.world.walkers import navigation_of

MAX_MAP_BYTES = 32 << 20
_LAYERS = "every map has the layers Buildings, Foliage, StreetLights and Walls; the others are empty"
_CLIENT_MAP = "OpenDriveMap"  # CARLA's name for the map of copy_opendrive_to_file


@procedure()
def version(call: Call) -> str:
    return CARLA_VERSION


@procedure()
def get_episode_info(call: Call) -> structs.EpisodeInfo:
    return structs.EpisodeInfo(call.episode.id, _token(call, stream.WORLD_STREAM))


@procedure()
def get_sensor_token(call: Call, stream_id: int) -> structs.Token:
    if not 0 < stream_id < 1 << 32:
        raise CarlaError(f"no stream has the id {stream_id}")
    call.session.announce(stream_id)
    return _token(call, stream_id)


def _token(call: Call, stream_id: int) -> structs.Token:
    return structs.Token(call.world.outlet.token(stream_id))


@procedure()
def get_episode_settings(call: Call) -> structs.EpisodeSettings:
    return call.world.settings


@procedure(
    PARTIAL,
    "synchronous mode and fixed delta take effect; rendering is always on demand, "
    "the physics steps once a tick, nothing is culled or put to sleep",
)
def set_episode_settings(call: Call, settings: structs.EpisodeSettings) -> int:
    standing = call.world.settings.synchronous_mode
    call.world.configure(settings)
    # The client waits, for a second at most, until it has seen the frame of the answer.  A client that
    # connected while the world stood still has not been sent the present frame: it would wait in vain.
    return call.session.seen if standing else call.world.frame


@procedure()
def tick_cue(call: Call) -> int:
    call.session.seen = call.world.cue()
    return call.session.seen


@procedure()
def get_map_info(call: Call) -> structs.MapInfo:
    roadmap = call.world.roadmap
    return structs.MapInfo(
        f"Carla/Maps/{roadmap.name}", [structs.transform(pose) for pose in roadmap.spawn_points]
    )


@procedure()
def get_map_data(call: Call) -> str:
    return call.world.roadmap.opendrive


@procedure()
def get_available_maps(call: Call) -> list[str]:
    names = {*call.world.catalogue.names(), call.world.roadmap.name}
    return [f"/Game/Carla/Maps/{name}" for name in sorted(names)]


@procedure(PARTIAL, "the map is one of get_available_maps; of its layers see load_map_layer")
def load_new_episode(
    call: Call, map_name: str, reset_settings: bool = True, map_layers: int = 0xFFFF
) -> None:
    call.world.load_named(map_name.rsplit("/", 1)[-1], reset_settings)
    missing = Layer.ALL & ~map_layers
    if missing:
        call.episode.load_layers(missing, False)


@procedure(PARTIAL, "the roads of the text; there is no generated mesh, so its parameters are ignored")
def copy_opendrive_to_file(
    call: Call, opendrive: str, parameters: structs.OpendriveGenerationParameters
) -> None:
    if len(opendrive) > MAX_MAP_BYTES:
        raise CarlaError(f"the OpenDRIVE text is larger than {MAX_MAP_BYTES} bytes")
    call.world.catalogue.offer(_CLIENT_MAP, opendrive)


@procedure(PARTIAL, "the navigation mesh, in folder Nav; the client needs no other files")
def get_required_files(call: Call, folder: str = "") -> list[str]:
    # Clients ask for all folders ("") whenever they read the map, and would keep a copy each time.
    mesh = navigation_of(call.world.roadmap) if folder == "Nav" else None
    return [] if mesh is None else [mesh.file_name]


@procedure(PARTIAL, "the files of get_required_files")
def request_file(call: Call, name: str) -> bytes:
    mesh = navigation_of(call.world.roadmap)
    if mesh is None or name != mesh.file_name:
        raise CarlaError(f"there is no file {name[:200]!r} on this map")
    return mesh.file


@procedure()
def get_navigation_mesh(call: Call) -> bytes:
    mesh = navigation_of(call.world.roadmap)
    return b"" if mesh is None else mesh.file


@procedure()
def get_weather_parameters(call: Call) -> structs.WeatherParameters:
    return call.world.weather


@procedure(PARTIAL, "wind, fog_falloff and the three scattering fields are read back and change no picture")
def set_weather_parameters(call: Call, weather: structs.WeatherParameters) -> None:
    call.world.set_weather(weather)


@procedure(PARTIAL, "what the ray passes through: bounding boxes, and at last the ground")
def cast_ray(call: Call, start: structs.Vector3D, end: structs.Vector3D) -> list[structs.LabelledPoint]:
    return survey.cast_ray(call.episode.view, start, end)


@procedure(PARTIAL, "hits bounding boxes and the ground")
def project_point(
    call: Call, location: structs.Vector3D, direction: structs.Vector3D, distance: float
) -> tuple[bool, structs.LabelledPoint]:
    hit = survey.project(call.episode.view, location, direction, distance)
    return hit is not None, hit or structs.LabelledPoint(structs.Vector3D(), 0)


@procedure(PARTIAL, "drawn by minicarla view; cameras do not see it")
def draw_debug_shape(call: Call, shape: Any) -> None:
    try:
        call.episode.drawings.add(debug.read(shape), call.world.elapsed)
    except ValueError as error:  # a WireError is one
        raise CarlaError(f"draw_debug_shape: {error}") from None


@procedure(
    PARTIAL, "static boxes, heads of traffic lights, plates of signs, surfaces and markings of the roads"
)
def get_environment_objects(call: Call, tag: int) -> list[structs.EnvironmentObject]:
    return call.episode.objects.listed(tag)


@procedure(PARTIAL, "the environment objects, and the vehicles, walkers and props that there are")
def get_all_level_BBs(call: Call, tag: int) -> list[structs.BoundingBox]:  # noqa: N802
    return survey.level_boxes(call.episode.objects, call.actors, tag)


@procedure(
    PARTIAL, "no sensor sees what is switched off, and nothing hits it; but roads still carry vehicles"
)
def enable_environment_objects(call: Call, ids: list[int], enable: bool) -> None:
    unknown = call.episode.enable_objects(ids, enable)
    if unknown:
        raise CarlaError(f"the map has no objects with the ids {', '.join(map(str, unknown[:10]))}")


@procedure()
def get_names_of_all_objects(call: Call) -> list[str]:
    return [thing.name for thing in call.episode.objects.listed()]


@procedure()
def clear_debug_shape(call: Call) -> None:
    call.episode.drawings.clear(strings=False)


@procedure()
def clear_debug_string(call: Call) -> None:
    call.episode.drawings.clear(strings=True)


@procedure(IGNORED, "nothing is translucent")
def set_annotations_traverse_translucency(call: Call, enable: bool) -> None:
    return


@procedure(PARTIAL, _LAYERS)
def load_map_layer(call: Call, layers: int) -> None:
    call.episode.load_layers(layers, True)


@procedure(PARTIAL, _LAYERS)
def unload_map_layer(call: Call, layers: int) -> None:
    call.episode.load_layers(layers, False)


absent(
    "episode",
    "surfaces have no textures",
    "apply_color_texture_to_objects",
    "apply_float_color_texture_to_objects",
    void=True,
)
