"""Structures survive the wire; other shapes are refused with the place of the mistake."""

from __future__ import annotations

import inspect
import typing
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicarla.wire import commands, structs
from minicarla.wire.schema import WireError, reader, writer

STRUCTS = [
    value
    for _, value in inspect.getmembers(structs, inspect.isclass)
    if issubclass(value, tuple) and value not in (structs.DebugShape,)
]

_SCALARS = {
    float: st.floats(allow_nan=False, width=32),
    int: st.integers(-(2**31), 2**32 - 1),
    bool: st.booleans(),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=24),
    Any: st.none(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a hint."""
    if hint in _SCALARS:
        return _SCALARS[hint]
    if typing.get_origin(hint) is list:
        return st.lists(values(typing.get_args(hint)[0]), max_size=3)
    if hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{name: values(hints[name]) for name in hint._fields})
    (item,) = [part for part in typing.get_args(hint) if part is not type(None)]
    return st.none() | values(item)


def over_the_wire(value: Any, hint: Any) -> Any:
    write = writer(hint)
    return msgpack.unpackb(msgpack.packb(value if write is None else write(value)))


@pytest.mark.slow
@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_structs_survive_the_wire(struct: Any, data: st.DataObject) -> None:
    value = data.draw(values(struct))
    assert reader(struct)(over_the_wire(value, struct)) == value


def test_an_optional_is_a_flag_and_a_value() -> None:
    episode = structs.EpisodeSettings(fixed_delta_seconds=0.05)
    assert over_the_wire(episode, structs.EpisodeSettings)[2] == [True, 0.05]
    assert over_the_wire(structs.EpisodeSettings(), structs.EpisodeSettings)[2] == [False]


def test_an_integer_will_do_for_a_number_but_nothing_else() -> None:
    assert reader(structs.Vector3D)([1, 2, 3]) == (1.0, 2.0, 3.0)
    for wrong in ("1", True, None, [1.0]):
        with pytest.raises(WireError, match=r"Vector3D\.y: expected a number"):
            reader(structs.Vector3D)([1.0, wrong, 3.0])


def test_a_mistake_is_named_down_to_the_field() -> None:
    with pytest.raises(WireError, match=r"Transform.rotation: Rotation.yaw: expected a number, got str"):
        reader(structs.Transform)([[0.0, 0.0, 0.0], [0.0, "x", 0.0]])


def test_arrays_may_be_longer_and_trailing_defaults_may_be_missing() -> None:
    class Pair(NamedTuple):
        a: int
        b: float = 2.0

    # A local class's annotations are text that only this module's names can resolve.
    Pair.__annotations__ = {"a": int, "b": float}
    assert reader(Pair)([1, 3.0, "new"]) == (1, 3.0)
    assert reader(Pair)([1]) == (1, 2.0)
    with pytest.raises(WireError, match="Pair has 1 fields, got 0"):
        reader(Pair)([])


@pytest.mark.parametrize("index", range(len(commands.TABLE)))
def test_commands_are_told_apart_by_their_index(index: int) -> None:
    table: Any = commands.TABLE[index]
    samples = {
        structs.Vector3D: [1.0, 2.0, 3.0],
        structs.Transform: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        structs.VehicleControl: [0.5, 0.0, 0.0, False, False, False, 0],
        structs.VehicleAckermannControl: [0.0] * 5,
        structs.WalkerControl: [[1.0, 0.0, 0.0], 1.4, False],
        structs.ActorDescription: [3, "vehicle.tesla.model3", [["role_name", 4, "hero"]]],
        structs.VehiclePhysicsControl: [
            *([], 1.0, 1.0, 1.0, 1.0, 1.0, True, 0.0, 1.0, 4.0, [], 1800.0, 0.3),
            *([0.0, 0.0, 0.0], [], [], False),
        ],
        int | None: [False],
        list[Any]: [],
        int: 7,
        float: 1.5,
        bool: True,
        str: "text",
    }
    hints = typing.get_type_hints(table)
    fields = [samples[hints[name]] for name in table._fields]
    assert isinstance(commands.read([[index, fields]]), table)


@pytest.mark.parametrize("wrong", [None, [], [[0]], [[99, [1]]], [[-1, [1]]], [["x", []]], [[1, ["x"]]]])
def test_what_is_no_command_is_refused(wrong: Any) -> None:
    with pytest.raises(WireError):
        commands.read(wrong)
