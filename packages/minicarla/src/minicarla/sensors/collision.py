"""``sensor.other.collision``: one message for each thing that the parent touched."""

from __future__ import annotations

from minicarla.geometry import Pose
from minicarla.sensors.base import ROLE_NAME, Sensor
from minicarla.sensors.view import WorldView
from minicarla.wire import sensor_data
from minicarla.wire.stream import SensorType


class CollisionSensor(Sensor):
    """Reports the contacts of its parent, with the impulse on the parent in N*s in the world's frame."""

    blueprint = "sensor.other.collision"
    wire_type = SensorType.COLLISION
    attributes = (ROLE_NAME,)
    event = True

    def measure(self, view: WorldView, pose: Pose, parent_id: int) -> bytes | None:
        """The message of the contact with the greatest impulse; None without a contact."""
        bodies = self.measure_all(view, pose, parent_id)
        return bodies[0] if bodies else None

    def measure_all(self, view: WorldView, pose: Pose, parent_id: int) -> list[bytes]:
        """One message for each thing that was touched, that of the greatest impulse first."""
        touched: dict[tuple[str, int], tuple[float, float, float]] = {}
        for contact in view.contacts:
            if contact.a == parent_id:
                sign = 1.0
                other = ("static", contact.static) if contact.b < 0 else ("actor", contact.b)
            elif contact.b == parent_id and contact.b >= 0:
                sign, other = -1.0, ("actor", contact.a)
            else:
                continue
            impulse = (
                sign * float(contact.impulse[0]),
                sign * float(contact.impulse[1]),
                sign * float(contact.impulse[2]),
            )
            if other not in touched or _length2(impulse) > _length2(touched[other]):
                touched[other] = impulse
        messages = []
        for (kind, index), impulse in sorted(
            touched.items(),
            key=lambda item: (-_length2(item[1]), item[0]),
        ):
            if kind == "static":
                hit = view.static_actor_struct(view.roadmap.statics[index].kind)
            else:
                hit = view.actor_struct(index)
            messages.append(sensor_data.collision(view.actor_struct(parent_id), hit, impulse))
        return messages


def _length2(vector: tuple[float, float, float]) -> float:
    return vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2
