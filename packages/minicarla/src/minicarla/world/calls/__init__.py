"""The remote procedures, one module a family; importing this fills the table."""

from minicarla.world.calls import (  # noqa: F401
    actors,
    batches,
    control,
    episode,
    lights,
    recorder,
    traffic,
    vehicles,
    walkers,
)
from minicarla.world.calls.registry import PROCEDURES, Call, Procedure, answer, failure

__all__ = ["PROCEDURES", "Call", "Procedure", "answer", "failure"]
