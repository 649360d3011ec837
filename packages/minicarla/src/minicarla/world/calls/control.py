"""What minicarla adds to CARLA's functions; names with a dot, so that CARLA never uses them."""

from __future__ import annotations

from typing import Any

from minicarla.faults import FaultError
from minicarla.wire import debug
from minicarla.world.calls.registry import COMPLETE, Call, procedure
from minicarla.world.outlet import CarlaError


@procedure(COMPLETE, 'from this machine only; arms faults, "" forgets all', name="minicarla.fault")
def fault(call: Call, spec: str) -> None:
    try:
        call.session.inject_faults(spec)
    except (FaultError, PermissionError) as error:
        raise CarlaError(str(error)) from None


@procedure(
    COMPLETE,
    "what world.debug has drawn and is still to be seen, in its own layout",
    name="minicarla.drawings",
)
def drawings(call: Call) -> list[Any]:
    return [debug.write(shape) for shape in call.episode.drawings.shown(call.world.elapsed)]
