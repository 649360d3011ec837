"""The register of Traffic Managers, which run in client processes."""

from __future__ import annotations

from minicarla.wire import structs
from minicarla.world.calls.registry import Call, ClientSession, procedure
from minicarla.world.world import World


@procedure()
def is_traffic_manager_running(call: Call, port: int) -> bool:
    return port in call.world.traffic_managers


@procedure()
def get_traffic_manager_running(call: Call, port: int) -> structs.TrafficManagerAddress:
    host, known, _ = call.world.traffic_managers.get(port, ("", 0, None))
    return structs.TrafficManagerAddress(host, known)


@procedure()
def add_traffic_manager_running(call: Call, address: structs.TrafficManagerAddress) -> bool:
    if address.port in call.world.traffic_managers:
        return False
    if len(call.world.traffic_managers) >= 1024:
        return False
    call.world.traffic_managers[address.port] = (address.host, address.port, call.session)
    return True


@procedure()
def destroy_traffic_manager(call: Call, port: int) -> bool:
    return call.world.traffic_managers.pop(port, None) is not None


def forget_session(world: World, session: ClientSession) -> None:
    """Remove what a connection had registered that is now closed."""
    gone = [port for port, entry in world.traffic_managers.items() if entry[2] is session]
    for port in gone:
        del world.traffic_managers[port]
