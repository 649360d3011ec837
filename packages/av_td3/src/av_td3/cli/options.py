"""Options that several commands take, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Preset = Annotated[str, typer.Option(help="Named configuration to start from: `av-td3 presets` lists them.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file whose values replace those of the preset.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one setting, such as train.steps=5000.  Can be given several times.",
    ),
]
Carla = Annotated[
    str | None,
    typer.Option(
        "--carla",
        metavar="HOST:PORT",
        help="Use the CARLA 0.9.16 server at this address.  Without it, the bundled simulator minicarla is "
        "started for you.",
    ),
]
Map = Annotated[
    str | None,
    typer.Option(
        "--map",
        help="Map to drive on: one of minicarla's (such as loop or town), an OpenDRIVE file (.xodr), or with "
        "--carla a map of that server.",
    ),
]
Npc = Annotated[int | None, typer.Option(min=0, help="Number of other vehicles.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")]

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="HOST:PORT|local",
        help="Run on the machines of the Ray cluster whose head is at this address, or on this machine "
        "through Ray.  Needs `pip install './packages/av_td3\\[ray]'`; see docs/many-machines.md.",
    ),
]
RunDir = Annotated[
    Path | None, typer.Option(help="Folder to write the run into.  Without it, a new one below runs.")
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the whole configuration as YAML and do nothing else.")
]
