"""Stream tokens: 24 bytes that tell a client where to read a stream."""

from __future__ import annotations

import ipaddress
import struct

_TCP = 1
_NOT_SET = 0
_FAMILY = {4: 1, 6: 2}

# stream id, port, protocol, address family, address (IPv6 uses all 16 bytes)
_LAYOUT = struct.Struct("<IHBB16s")
SIZE = _LAYOUT.size
assert SIZE == 24


def pack(stream_id: int, port: int) -> bytes:
    """Token of a stream served over TCP at ``port`` of the host whose calls are answered.

    Like CARLA's it names no address: behind NAT, as in many containers, the server does not know the one
    that its client uses.
    """
    return _LAYOUT.pack(stream_id, port, _TCP, _NOT_SET, b"")


def unpack(token: bytes) -> tuple[int, str, int]:
    """Stream id, host and port of a token; struct.error when it is not 24 bytes.

    The host is empty when the token does not name one.  Then the stream is on the host that was asked.
    """
    stream_id, port, _, family, packed = _LAYOUT.unpack(token)
    if family not in _FAMILY.values():
        return stream_id, "", port
    address = ipaddress.ip_address(packed if family == _FAMILY[6] else packed[:4])
    return stream_id, "" if address.is_unspecified else str(address), port
