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
    assert seen == 3 * [rpc.Request(7, "tick_cue", [1, "x"])]
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
        while requests.next() is not None:
            pass
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
        msgpack.packb([0, 1, "name", [{"a": 1}]]),
        msgpack.packb([0, 1, "name", [msgpack.ExtType(4, b"x")]]),
        b"\x94\x00\x01\xa1\xff\x90",  # a name that is no UTF-8
        b"\x91" * 5000,  # too deep
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


def test_announced_sizes_cost_no_memory() -> None:
    """Nested headers of the longest arrays: five bytes each must not reserve room without bound."""
    tracemalloc.start()
    for _ in range(20):
        requests = rpc.Requests()
        requests.feed(b"\xdd\x00\x01\x00\x00" * 100)
        requests.next()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


def test_a_request_without_end_is_cut_off() -> None:
    requests = rpc.Requests()
    requests.feed(b"\xc6\x05\x00\x00\x00")
    with pytest.raises(WireError, match="more than"):
        for _ in range(70):
            requests.feed(bytes(1 << 20))
            requests.next()
