"""Functions that minicarla adds to CARLA's.  Their names have a dot, which CARLA's never have."""

from __future__ import annotations

from typing import Any

from minicarla.faults import FaultError
from minicarla.wire import debug
from minicarla.world.calls.registry import COMPLETE, Call, procedure
from minicarla.world.outlet import CarlaError


@procedure(COMPLETE, 'injects faults, "" removes all; from this machine only', name="minicarla.fault")
def fault(call: Call, spec: str) -> None:
    try:
        call.session.inject_faults(spec)
    except (FaultError, PermissionError) as error:
        raise CarlaError(str(error)) from None


@procedure(
    COMPLETE,
    "what world.debug has drawn and is still visible, in a layout of its own",
    name="minicarla.drawings",
)
def drawings(call: Call) -> list[Any]:
    return [debug.write(shape) for shape in call.episode.drawings.shown(call.world.elapsed)]
