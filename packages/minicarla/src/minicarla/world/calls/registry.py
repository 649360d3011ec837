"""The table of remote procedures: name, status, handler.

A handler is a function whose first parameter is the :class:`Call`.  The type hints of the other
parameters and of the result say what the client sends and gets; readers and writers are made from
them.  A handler raises ``CarlaError`` to refuse a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any, NamedTuple, Protocol, get_type_hints

from minicarla.wire import rpc
from minicarla.wire.schema import Read, WireError, Write, reader, writer
from minicarla.world.episode import WorldEpisode
from minicarla.world.outlet import CarlaError
from minicarla.world.table import ActorTable
from minicarla.world.world import World

COMPLETE, PARTIAL, IGNORED, ABSENT = "complete", "partial", "ignored", "absent"
"""What a call does: what it does in CARLA; less, as the row's note says; nothing, and the server's log says
so; it is answered with an error."""


class ClientSession(Protocol):
    """The connection over which a call came."""

    seen: int
    """The frame of its last tick; 0 before."""

    def inject_faults(self, spec: str) -> None:
        """Arm faults, see :mod:`minicarla.faults`; "" forgets all."""

    def announce(self, stream_id: int) -> None:
        """The client is about to open this stream."""


class Call(NamedTuple):
    """What a handler gets besides the client's arguments."""

    world: World
    session: ClientSession

    @property
    def episode(self) -> WorldEpisode:
        """The running episode, whose parts carry out most calls."""
        return self.world.episode

    @property
    def actors(self) -> ActorTable:
        """All actors."""
        return self.world.actors


class Procedure(NamedTuple):
    """One row of the table."""

    name: str
    status: str
    note: str
    handler: Callable[..., Any] | None
    readers: tuple[Read, ...]
    required: int
    write: Write | None
    void: bool
    bare: bool  # the result goes out without CARLA's wrapping
    family: str

    def answer(self, call: Call, decode: Callable[[], Sequence[Any]]) -> Any:
        """The wrapped result of a call; refusals and malformed arguments become wrapped errors.

        decode: gives the arguments; WireError when they cannot be decoded.
        """
        try:
            if self.handler is None:
                raise CarlaError(f"minicarla does not have the function {self.name}: {self.note}")
            arguments = decode()
            if len(arguments) < self.required:
                raise WireError(f"{self.required} arguments expected, got {len(arguments)}")
            values = [read(argument) for read, argument in zip(self.readers, arguments, strict=False)]
            result = self.handler(call, *values)
        except CarlaError as error:
            return self.failure(str(error))
        except WireError as error:
            message = f"{self.name}: {error}"
            # CARLA's client ends with SIGSEGV when it gets fewer results than it sent commands.  It raises an
            # exception when it gets no list.
            return message if self.bare else self.failure(message)
        if self.void:
            return rpc.VOID
        if self.write is not None:
            result = self.write(result)
        return result if self.bare else rpc.value(result)

    def failure(self, message: str) -> Any:
        """The wrapped form of a failure of this procedure."""
        if self.bare:
            return []
        return rpc.void_error(message) if self.void else rpc.value_error(message)


PROCEDURES: dict[str, Procedure] = {}


def procedure(
    status: str = COMPLETE, note: str = "", *, bare: bool = False, name: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a handler under its own name (or ``name``)."""

    def enter(handler: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(handler)
        result = hints.pop("return")
        parameters = list(signature(handler).parameters.values())[1:]
        key = name or handler.__name__
        PROCEDURES[key] = Procedure(
            name=key,
            status=status,
            note=note,
            handler=handler,
            readers=tuple(reader(hints[parameter.name]) for parameter in parameters),
            required=sum(parameter.default is Parameter.empty for parameter in parameters),
            write=None if result is type(None) else writer(result),
            void=result is type(None),
            bare=bare,
            family=handler.__module__.rsplit(".", 1)[1],
        )
        return handler

    return enter


def absent(family: str, note: str, *names: str, void: bool = False) -> None:
    """Enter functions that CARLA has and minicarla does not."""
    for name in names:
        PROCEDURES[name] = Procedure(name, ABSENT, note, None, (), 0, None, void, False, family)


def answer(call: Call, name: str, decode: Callable[[], Sequence[Any]]) -> Any:
    """The wrapped result of any call, see :meth:`Procedure.answer`."""
    row = PROCEDURES.get(name)
    if row is None:
        return rpc.value_error(f"minicarla does not know the function {name[:100]}")
    return row.answer(call, decode)


def failure(name: str, message: str) -> Any:
    """The wrapped form of a failure of any call."""
    row = PROCEDURES.get(name)
    return row.failure(message) if row is not None else rpc.value_error(message)
