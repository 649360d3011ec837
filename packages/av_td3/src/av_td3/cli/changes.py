"""The options with which ``evaluate`` and ``drive`` change what an agent was trained with."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Annotated, Any

import typer

from av_td3.cli.options import Carla, Map, Npc
from av_td3.config import Weather

Device = Annotated[str | None, typer.Option(help="What torch computes on: auto, cpu, cuda or cuda:N.")]
WeatherOption = Annotated[
    Weather | None,
    typer.Option(
        help="Weather and light of each episode: fixed, the server's own; train, one of four; held_out, one "
        "of two that training never sees; all, any preset of CARLA.  Without it, as in training."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Change one setting that the agent was trained with, such as env.simulator.npc_placement=near.  "
        "Can be given several times.",
    ),
]

_OPTIONS: dict[str, Any] = {
    "npc": Npc,
    "map_": Map,
    "address": Carla,
    "device": Device,
    "weather": WeatherOption,
    "settings": Set,
}
"""One for each key of :class:`~av_td3.commands.changes.Changes`."""


def takes_changes(*, last: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options.  What was given arrives as one argument, ``changes``.

    Args:
        last: which of them stand last in the help; the others stand where the command has ``changes``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in _OPTIONS.items()
        ]
        parameters: list[inspect.Parameter] = []
        signature = inspect.signature(command, eval_str=True)
        for own in signature.parameters.values():
            parameters += [o for o in options if o.name not in last] if own.name == "changes" else [own]
        parameters += [o for o in options if o.name in last]

        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            changes = {name: given.pop(name) for name in _OPTIONS}
            command(changes={name: value for name, value in changes.items() if value is not None}, **given)

        vars(with_options)["__signature__"] = signature.replace(parameters=parameters)
        return with_options

    return decorate
