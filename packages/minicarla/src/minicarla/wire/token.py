"""Stream tokens: 24 bytes that tell a client where to read a stream."""

from __future__ import annotations

import ipaddress
import struct

_TCP = 1
_FAMILY = {4: 1, 6: 2}

# stream id, port, protocol, address family, address (IPv6 uses all 16 bytes)
_LAYOUT = struct.Struct("<IHBB16s")
SIZE = _LAYOUT.size
assert SIZE == 24


def pack(stream_id: int, host: str, port: int) -> bytes:
    """Token of a stream served over TCP at ``host:port`` (an IP address in text)."""
    address = ipaddress.ip_address(host)
    return _LAYOUT.pack(stream_id, port, _TCP, _FAMILY[address.version], address.packed)


def unpack(token: bytes) -> tuple[int, str, int]:
    """Stream id, host and port of a token; struct.error when it is not 24 bytes.

    The host is empty when the token does not name one.  Then the stream is on the host that was asked.
    """
    stream_id, port, _, family, packed = _LAYOUT.unpack(token)
    if family not in _FAMILY.values():
        return stream_id, "", port
    address = ipaddress.ip_address(packed if family == _FAMILY[6] else packed[:4])
    return stream_id, "" if address.is_unspecified else str(address), port
