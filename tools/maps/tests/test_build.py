"""The maps in the package are the ones that the script writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from minicarla import maps
from tools.maps import build


@pytest.mark.parametrize("name", build.MAPS)
def test_the_bundled_files_are_what_the_script_makes(name: str) -> None:
    path = Path(maps.__file__).parent / "data" / f"{name}.xodr"
    assert path.read_text() == build.text(name), "run: python -m tools.maps.build"


def test_a_map_does_not_depend_on_what_was_made_before() -> None:
    assert build.text("grid") == build.text("grid")


def test_a_street_that_comes_back_to_its_junction_is_refused() -> None:
    street = build.Street(0, 0, via=((100, 0), (100, 100)))
    with pytest.raises(ValueError, match="street 0 begins and ends at junction 0"):
        build.Network("knot").build([build.Node((0.0, 0.0))], [street])


def test_every_bundled_map_has_its_source() -> None:
    assert sorted(build.MAPS) == maps.available()
