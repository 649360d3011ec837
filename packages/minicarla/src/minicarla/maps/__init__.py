"""Maps: from OpenDRIVE to the geometry that the rest of the server uses."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from minicarla.maps import scenery
from minicarla.maps.lanes import Lane, Marking, Surface
from minicarla.maps.opendrive import OpenDriveError, decode
from minicarla.maps.opendrive import parse as _parse_opendrive
from minicarla.maps.roadmap import RoadMap
from minicarla.maps.signs import Sign, traffic_signs
from minicarla.maps.statics import StaticBox

SCENERY_SEED = 0

__all__ = [
    "Lane",
    "Marking",
    "OpenDriveError",
    "RoadMap",
    "Sign",
    "StaticBox",
    "Surface",
    "available",
    "files",
    "load",
    "parse",
    "traffic_signs",
]


def available() -> list[str]:
    """Names of the bundled maps."""
    folder = resources.files("minicarla.maps") / "data"
    return sorted(p.name.removesuffix(".xodr") for p in folder.iterdir() if p.name.endswith(".xodr"))


def load(name: str, called: str = "") -> RoadMap:
    """Load a bundled map or an .xodr file.

    name: of a bundled map, or the path of a file.
    called: the name that the map gets; by default that of the bundled map or of the file.

    Raises:
        FileNotFoundError: there is neither a bundled map nor a file of this name.
        OpenDriveError (a ValueError): the file is not OpenDRIVE that can be driven on.
    """
    if name in available():
        text = (resources.files("minicarla.maps") / "data" / f"{name}.xodr").read_text("utf-8")
        return parse(text, called or name)
    path = Path(name)
    if path.suffix != ".xodr" or not path.is_file():
        raise FileNotFoundError(
            f"no map {name!r}: give one of {', '.join(available())}, or the path of an .xodr file"
        )
    return parse(decode(path.read_bytes()), called or path.stem)


def files(folder: str) -> dict[str, Path]:
    """The .xodr files of a folder, by the name under which clients load them.

    Raises:
        NotADirectoryError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"no folder of maps: {folder}")
    return {path.stem: path for path in sorted(Path(folder).glob("*.xodr"))}


def parse(text: str, name: str) -> RoadMap:
    """A map from OpenDRIVE text, with scenery beside its roads.

    Raises:
        OpenDriveError (a ValueError): the text is not OpenDRIVE that can be driven on.
    """
    roadmap = RoadMap(name, text, _parse_opendrive(text))
    roadmap.statics = scenery.build(roadmap, SCENERY_SEED)
    return roadmap
