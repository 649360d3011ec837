"""Framing: requests in pieces, limits, hostile bytes."""

from __future__ import annotations

import itertools
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicarla.wire import rpc
from minicarla.wire.schema import WireError

REQUEST = msgpack.packb([0, 7, "tick_cue", [[False], 1, "x"]])


@settings(deadline=None, derandomize=True, database=None)
@given(cuts=st.lists(st.integers(0, 3 * len(REQUEST)), max_size=8))
def test_requests_come_in_any_pieces(cuts: list[int]) -> None:
    data, requests, seen = 3 * REQUEST, rpc.Requests(), []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        requests.feed(data[start:end])
        while (request := requests.next()) is not None:
            seen.append(request)
    assert [(*request, request.arguments()) for request in seen] == 3 * [
        (7, "tick_cue", seen[0].packed, True, [1, "x"])
    ]
    assert requests.pending == 0


def test_metadata_says_whether_the_client_waits() -> None:
    requests = rpc.Requests()
    for parameters in ([[True], 1], [[False], 1], []):
        requests.feed(msgpack.packb([0, 1, "x", parameters]))
    assert [requests.next().waits for _ in range(3)] == [False, True, True]  # type: ignore[union-attr]


@settings(deadline=None, derandomize=True, database=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_request_nothing_or_an_error(data: bytes) -> None:
    requests = rpc.Requests()
    requests.feed(data)
    try:
        while (request := requests.next()) is not None:
            request.arguments()
    except WireError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",  # no msgpack
        msgpack.packb(5),
        msgpack.packb([1, 2, None, []]),  # a reply
        msgpack.packb([2, "notify", []]),
        msgpack.packb([0, "id", "name", []]),
        msgpack.packb([0, 1, b"name", []]),
        msgpack.packb([0, 1, "name", {}]),
        msgpack.packb([0, True, "name", []]),
        msgpack.packb([0, 1, "name", [], []]),
        msgpack.packb([0, 1, "name"]),
        msgpack.packb([0, 1, "name", [{"a": 1}], []]),
        msgpack.packb([0, 1, {"name": 1}, []]),
        msgpack.packb([0, 1, "name", [{"meta": 1}]]),
        msgpack.packb({0: 1}),
        msgpack.packb("long enough to have four items"),
        b"\x94\x00\x01\xa1\xff\x90",  # a name that is no UTF-8
        b"\x91" * 5000,
        b"\x94\x00\x01\xa1x" + b"\x91" * 5000,  # too deep
        b"\xdd\xff\xff\xff\xff",  # an array of 4 billion
    ],
    ids=repr,
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    requests = rpc.Requests()
    requests.feed(data[:1000])
    with pytest.raises(WireError):
        while requests.next() is not None:
            pass
        requests.feed(data[1000:])
        while requests.next() is not None:
            pass
        pytest.fail("accepted")


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    "argument",
    [
        msgpack.packb((rpc.MAX_ITEMS + 1) * [0]),
        msgpack.packb([[rpc.MAX_ITEMS * [0] + [1]]]),
        msgpack.packb({"a": 1}),
        msgpack.packb(msgpack.ExtType(4, b"x")),
        b"\xa1\xff",  # no UTF-8
    ],
    ids=lambda data: repr(data[:8]),
)
def test_a_request_whose_arguments_cannot_be_read_can_be_answered(argument: bytes, waits: bool) -> None:
    """Its client never connects again, so the connection has to go on."""
    requests = rpc.Requests()
    data = b"\x94\x00\x07\xa4name\x93\x91" + (b"\xc2" if waits else b"\xc3") + b"\x05" + argument
    for part in (data[:10], data[10:-1], data[-1:] + REQUEST):
        assert requests.next() is None
        requests.feed(part)
    first, second = requests.next(), requests.next()
    assert first is not None and second is not None and requests.pending == 0
    assert (first.id, first.name, first.waits) == (7, "name", waits)
    with pytest.raises(WireError, match="the arguments cannot be read"):
        first.arguments()
    assert second.arguments() == [1, "x"]


def test_what_a_procedure_takes_may_be_long() -> None:
    items = [[i] for i in range(rpc.MAX_ITEMS)]
    requests, data = rpc.Requests(), msgpack.packb([0, 7, "name", [[False], items, "x" * 100_000]])
    for start in range(0, len(data), 1 << 16):
        assert requests.next() is None
        requests.feed(data[start : start + (1 << 16)])
    request = requests.next()
    assert request is not None and request.arguments() == [items, "x" * 100_000]


def test_announced_sizes_cost_no_memory() -> None:
    """Nested headers of the longest arrays: five bytes each must not reserve room without bound."""
    tracemalloc.start()
    for _ in range(20):
        requests = rpc.Requests()
        requests.feed(b"\x94\x00\x01\xa1x" + b"\xdd\x00\x01\x00\x00" * 100)
        requests.next()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


def test_a_request_without_end_is_cut_off() -> None:
    requests = rpc.Requests()
    requests.feed(b"\x94\x00\x01\xa1x\xc6\x05\x00\x00\x00")
    with pytest.raises(WireError, match="more than"):
        for _ in range(70):
            requests.feed(bytes(1 << 20))
            requests.next()


def test_a_request_of_many_parts_is_cut_off_too() -> None:
    """The parser alone would take any number of bytes, as long as no single string is too long."""
    requests, part = rpc.Requests(), b"\xc6\x00\x10\x00\x00" + bytes(1 << 20)
    requests.feed(b"\x94\x00\x01\xa1x\xdc\x03\xe8")
    with pytest.raises(WireError, match="more than"):
        for _ in range(70):
            requests.feed(part)
            requests.next()
