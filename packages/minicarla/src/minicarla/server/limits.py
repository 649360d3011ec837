"""How many connections of each kind are accepted.

Those over which clients call and those that read streams have limits of their own, so that a program that
leaves streams behind cannot shut the others out.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection

from minicarla.server.connections import ClientConnection, SocketConnection
from minicarla.server.streams import StreamConnection

MAX_CLIENTS = 256
"""Connections over which clients call."""
MAX_READERS = 512
"""Connections that read streams which there are.  Those whose sensor is gone are not counted.  CARLA's client
keeps them after ``reload_world`` when a program did not stop its sensors before, and opens each of them again
as soon as it is closed."""
MAX_STREAM_CONNECTIONS = 4096
"""Connections that read streams, with those whose sensor is gone.  CARLA's client itself ends at about 1,000,
where a process may open 1,024 files by default."""
RESERVED_FILES = 512
"""Files that streams leave to clients' connections and to everything else; a connection is an open file."""


def full_of_clients(connections: Collection[SocketConnection]) -> str:
    """Why no further client is accepted, "" if one is; ``connections``: all that are open."""
    count = sum(isinstance(connection, ClientConnection) for connection in connections)
    return f"{MAX_CLIENTS} clients are connected" if count >= MAX_CLIENTS else ""


def full_of_readers(connections: Collection[SocketConnection], serves: Callable[[int], bool]) -> str:
    """Why no further connection to a stream is accepted, "" if one is.

    serves: whether there is anything that writes a stream.
    """
    readers = [reader for reader in connections if isinstance(reader, StreamConnection)]
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_STREAM_CONNECTIONS
    if files != resource.RLIM_INFINITY:
        most = min(most, max(files // 2, files - RESERVED_FILES))
    if len(readers) >= most:
        return f"{most} streams are being read, some perhaps of sensors that are gone"
    if len(readers) < MAX_READERS:
        return ""
    served = {stream_id: serves(stream_id) for stream_id in {reader.stream for reader in readers}}
    served[0] = True  # a connection that has not named its stream yet
    count = sum(served[reader.stream] for reader in readers)
    return f"{MAX_READERS} streams are being read" if count >= MAX_READERS else ""


def allow_open_files() -> None:
    """Let this process open as many files as :data:`MAX_STREAM_CONNECTIONS` need, where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_STREAM_CONNECTIONS + RESERVED_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
