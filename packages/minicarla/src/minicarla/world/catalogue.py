"""The catalogue of maps that clients may load by name."""

from __future__ import annotations

from minicarla import maps
from minicarla.maps import RoadMap
from minicarla.world.outlet import CarlaError


class MapCatalogue:
    """Bundled maps, the .xodr files of a folder, and OpenDRIVE texts that clients sent.

    folder: its .xodr files are offered by name; "" for none.  NotADirectoryError when it is not a
        folder.
    """

    def __init__(self, folder: str = "") -> None:
        self._files = maps.files(folder) if folder else {}
        self._texts: dict[str, str] = {}

    def first(self, name: str) -> RoadMap:
        """The map that a server starts with: bundled, of the folder, or the path of an .xodr file.

        A map given by its path stays in the catalogue, so that clients may come back to it.
        FileNotFoundError, ValueError.
        """
        roadmap = maps.load(str(self._files.get(name, name)))
        if roadmap.name not in maps.available():
            self._texts[roadmap.name] = roadmap.opendrive
        return roadmap

    def names(self) -> list[str]:
        """Names that :meth:`find` takes."""
        return sorted({*maps.available(), *self._files, *self._texts})

    def offer(self, name: str, opendrive: str) -> None:
        """Keep an OpenDRIVE text under a name; CarlaError when it cannot be driven on."""
        try:
            maps.parse(opendrive, name)
        except ValueError as error:
            raise CarlaError(f"the OpenDRIVE text cannot be used: {error}") from None
        self._texts[name] = opendrive

    def find(self, name: str, current: RoadMap) -> RoadMap:
        """The map of that name; ``current`` itself for "" or when its own name means the same roads.

        CARLA's Town01_Opt is Town01 in layers, so a name with _Opt stands for the map without.
        CarlaError when there is no such map, or when it cannot be used.
        """
        if not name or (
            name == current.name and self._texts.get(name, current.opendrive) == current.opendrive
        ):
            return current
        known = name if name in self.names() else name.removesuffix("_Opt")
        if known in self._texts:
            return maps.parse(self._texts[known], name)
        if known in self._files:
            try:
                return maps.load(str(self._files[known]), name)
            except (OSError, ValueError) as error:
                raise CarlaError(f"map {name[:200]} cannot be used: {error}") from None
        if known in maps.available():
            return maps.load(known, name)
        raise CarlaError(f"map not found: {name[:200]}")
