"""The blueprint library: ids and attributes of everything that can be spawned, as CARLA has them.

Vehicles come from the table here joined with the physical models (size, mass), sensors from the table
of sensors, props from :mod:`minicarla.world.props`, walkers from the table here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, TypeVar, cast

from minicarla.physics import models
from minicarla.physics.models import USUAL_FRICTION
from minicarla.sensors import REGISTRY, Sensor
from minicarla.sensors.absent import ABSENT
from minicarla.wire.structs import (
    ActorAttribute,
    ActorAttributeValue,
    ActorDefinition,
    ActorDescription,
    AttributeType,
    GearPhysicsControl,
    Vector2D,
    Vector3D,
    VehiclePhysicsControl,
    WheelPhysicsControl,
)
from minicarla.world.props import PROPS

BOOL, INT, FLOAT, STRING, COLOUR = (
    AttributeType.BOOL,
    AttributeType.INT,
    AttributeType.FLOAT,
    AttributeType.STRING,
    AttributeType.COLOUR,
)

CAR, TRUCK, BUS, MOTORCYCLE, BICYCLE, PEDESTRIAN, STATIC = 14, 15, 16, 18, 19, 12, 20
"""Semantic tags."""


AUTOPILOT_ROLE = "minicarla:autopilot"
"""``role_name`` of a vehicle or walker that the server itself moves; ":" and a name may follow.
It is among the recommended values, which tells a client that this server has such traffic."""
_PACE = re.compile(rf"{AUTOPILOT_ROLE}@(\d{{1,3}})(?::|$)")


def pace_of(role: str) -> float:
    """Share of the speed limit at which the server's traffic drives a vehicle with this ``role_name``.

    ``minicarla:autopilot@60`` drives at 60 % of it, and ``@0`` stands; without a number it is 1.
    """
    found = _PACE.match(role)
    return int(found[1]) / 100.0 if found else 1.0


T = TypeVar("T")


class VehicleBlueprint(NamedTuple):
    """What CARLA says of a vehicle.  ``colours``: the values of its attribute ``color``, "r,g,b"."""

    id: str
    base_type: str  # car | truck | van | motorcycle | bicycle | bus
    special_type: str  # "" | electric | emergency | taxi
    generation: int
    wheels: int
    has_lights: bool
    tag: int
    colours: tuple[str, ...]


_PAINT = ("17,37,103", "107,7,10", "180,44,44", "33,33,33", "200,200,200", "255,255,255")

# What CARLA 0.9.16 says of these vehicles.
VEHICLES: tuple[VehicleBlueprint, ...] = tuple(
    VehicleBlueprint(*row)
    for row in (
        ("vehicle.audi.a2", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.audi.etron", "car", "electric", 1, 4, False, CAR, _PAINT),
        ("vehicle.audi.tt", "car", "", 1, 4, True, CAR, _PAINT),
        ("vehicle.bmw.grandtourer", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.chevrolet.impala", "car", "", 1, 4, True, CAR, _PAINT),
        ("vehicle.citroen.c3", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.dodge.charger_2020", "car", "", 2, 4, True, CAR, _PAINT),
        ("vehicle.dodge.charger_police", "car", "emergency", 1, 4, True, CAR, ()),
        ("vehicle.dodge.charger_police_2020", "car", "emergency", 2, 4, True, CAR, ()),
        ("vehicle.ford.crown", "car", "taxi", 2, 4, True, CAR, _PAINT),
        ("vehicle.ford.mustang", "car", "", 1, 4, True, CAR, _PAINT),
        ("vehicle.jeep.wrangler_rubicon", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.lincoln.mkz_2017", "car", "", 1, 4, True, CAR, _PAINT),
        ("vehicle.lincoln.mkz_2020", "car", "", 2, 4, True, CAR, _PAINT),
        ("vehicle.mercedes.coupe", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.mercedes.coupe_2020", "car", "", 2, 4, True, CAR, _PAINT),
        ("vehicle.micro.microlino", "car", "electric", 1, 4, False, CAR, _PAINT),
        ("vehicle.mini.cooper_s", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.mini.cooper_s_2021", "car", "", 2, 4, True, CAR, _PAINT),
        ("vehicle.nissan.micra", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.nissan.patrol", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.nissan.patrol_2021", "car", "", 2, 4, True, CAR, _PAINT),
        ("vehicle.seat.leon", "car", "", 1, 4, False, CAR, _PAINT),
        ("vehicle.tesla.cybertruck", "car", "electric", 1, 4, True, CAR, ()),
        ("vehicle.tesla.model3", "car", "electric", 1, 4, True, CAR, _PAINT),
        ("vehicle.toyota.prius", "car", "electric", 1, 4, False, CAR, _PAINT),
        ("vehicle.mercedes.sprinter", "van", "", 2, 4, True, CAR, _PAINT),
        ("vehicle.volkswagen.t2", "van", "", 1, 4, True, CAR, _PAINT),
        ("vehicle.volkswagen.t2_2021", "van", "", 2, 4, True, CAR, _PAINT),
        ("vehicle.ford.ambulance", "van", "emergency", 2, 4, True, TRUCK, ()),
        ("vehicle.carlamotors.carlacola", "truck", "", 1, 4, False, TRUCK, _PAINT),
        ("vehicle.carlamotors.european_hgv", "truck", "", 2, 4, False, TRUCK, _PAINT),
        ("vehicle.carlamotors.firetruck", "truck", "emergency", 2, 4, True, TRUCK, ()),
        ("vehicle.mitsubishi.fusorosa", "bus", "", 2, 4, True, BUS, ()),
        ("vehicle.harley-davidson.low_rider", "motorcycle", "", 1, 2, False, MOTORCYCLE, _PAINT),
        ("vehicle.kawasaki.ninja", "motorcycle", "", 1, 2, False, MOTORCYCLE, _PAINT),
        ("vehicle.vespa.zx125", "motorcycle", "", 1, 2, True, MOTORCYCLE, _PAINT),
        ("vehicle.yamaha.yzf", "motorcycle", "", 1, 2, False, MOTORCYCLE, _PAINT),
        ("vehicle.bh.crossbike", "bicycle", "", 1, 2, False, BICYCLE, _PAINT),
        ("vehicle.diamondback.century", "bicycle", "", 1, 2, False, BICYCLE, _PAINT),
        ("vehicle.gazelle.omafiets", "bicycle", "", 1, 2, False, BICYCLE, _PAINT),
    )
)
VEHICLE_BY_ID = {vehicle.id: vehicle for vehicle in VEHICLES}

_CHILDREN = {*range(9, 15), 48, 49}
# (id, gender, age, generation)
_WALKERS = tuple(
    (
        f"walker.pedestrian.{number:04d}",
        "male" if number % 2 else "female",
        "child" if number in _CHILDREN else "adult",
        1 if number <= 14 else 2,
    )
    for number in range(1, 53)
)
WALKERS = tuple(name for name, *_ in _WALKERS)
WALKER_EXTENT = {"adult": (0.1877, 0.1877, 0.93), "child": (0.25, 0.25, 0.55)}
WALKER_MASS = {"adult": 75.0, "child": 35.0}

FRICTION_TRIGGER = "static.trigger.friction"


def attribute(
    name: str,
    kind: AttributeType,
    default: object,
    recommended: Iterable[str] = (),
    *,
    modifiable: bool = True,
    restrict: bool = False,
) -> ActorAttribute:
    """One attribute.  CARLA transmits every value as text, and recommends at least the default."""
    text = str(default).lower() if isinstance(default, bool) else str(default)
    values = list(recommended) or ([text] if modifiable else [])
    return ActorAttribute(name, int(kind), text, values, modifiable, restrict)


def _friction_trigger() -> list[ActorAttribute]:
    rows = [attribute("role_name", STRING, "trigger"), attribute("friction", FLOAT, USUAL_FRICTION)]
    return rows + [attribute(f"extent_{axis}", FLOAT, "1.0") for axis in "xyz"]  # centimetres


def _fixed(name: str, kind: AttributeType, value: object) -> ActorAttribute:
    return attribute(name, kind, value, modifiable=False)


def _vehicle(vehicle: VehicleBlueprint) -> list[ActorAttribute]:
    rows = [
        attribute(
            "role_name", STRING, "autopilot", ("autopilot", "scenario", "ego_vehicle", "minicarla:autopilot")
        ),
        attribute("sticky_control", BOOL, True),
        attribute("terramechanics", BOOL, False),
        _fixed("number_of_wheels", INT, vehicle.wheels),
        _fixed("generation", INT, vehicle.generation),
        _fixed("base_type", STRING, vehicle.base_type),
        _fixed("special_type", STRING, vehicle.special_type),
        _fixed("object_type", STRING, ""),
        _fixed("has_lights", BOOL, vehicle.has_lights),
        _fixed("has_dynamic_doors", BOOL, False),
    ]
    if vehicle.colours:
        rows.insert(1, attribute("color", COLOUR, vehicle.colours[0], vehicle.colours, restrict=False))
    if vehicle.wheels == 2:
        rows.insert(2, attribute("driver_id", INT, 0, ("0",)))
    return rows


def _walker(gender: str, age: str, generation: int) -> list[ActorAttribute]:
    return [
        attribute("role_name", STRING, "pedestrian", ("pedestrian", AUTOPILOT_ROLE)),
        attribute("is_invincible", BOOL, True),
        attribute("speed", FLOAT, "1.4", ("0.0", "1.4", "2.6")),
        attribute("can_use_wheelchair", BOOL, False, modifiable=False),
        attribute("use_wheelchair", BOOL, False),
        _fixed("gender", STRING, gender),
        _fixed("generation", INT, generation),
        _fixed("age", STRING, age),
    ]


def sensor_class(type_id: str) -> type[Sensor]:
    """The class of a sensor's blueprint; KeyError when there is no such blueprint."""
    return REGISTRY[type_id]


def _sensors() -> list[tuple[str, list[ActorAttribute]]]:
    tables = {name: sensor.attributes for name, sensor in REGISTRY.items()} | ABSENT
    return [
        (
            name,
            [
                attribute(row.id, row.type, row.default, row.recommended, restrict=row.restrict)
                for row in attributes
            ],
        )
        for name, attributes in tables.items()
    ]


class VehicleBody(NamedTuple):
    """Size and mass of a vehicle, and its row in ``physics.models.MODELS``."""

    model: int
    mass: float
    extent: tuple[float, float, float]
    centre: tuple[float, float, float]


def vehicle_body(type_id: str) -> VehicleBody:
    """Size and mass of a vehicle; KeyError when there is no such blueprint."""
    index = models.find(type_id)
    model = models.MODELS[index]
    return VehicleBody(index, model.mass, model.extent, model.centre)


def _tags(type_id: str) -> str:
    return type_id.replace(".", ",")


@lru_cache(maxsize=1)
def definitions() -> tuple[ActorDefinition, ...]:
    """Every blueprint, in the order of their uids, which start at 1."""
    rows: list[tuple[str, list[ActorAttribute]]] = []
    rows += [(vehicle.id, _vehicle(vehicle)) for vehicle in VEHICLES]
    rows += [(name, _walker(gender, age, generation)) for name, gender, age, generation in _WALKERS]
    rows += _sensors()
    rows.append(("controller.ai.walker", [attribute("role_name", STRING, "default", ("default",))]))
    rows += [
        (
            name,
            [
                attribute("role_name", STRING, "prop", ("prop",)),
                _fixed("size", STRING, prop.size),
            ],
        )
        for name, prop in PROPS.items()
    ]
    rows.append((FRICTION_TRIGGER, _friction_trigger()))
    return tuple(
        ActorDefinition(uid, name, _tags(name), attributes)
        for uid, (name, attributes) in enumerate(rows, start=1)
    )


@lru_cache(maxsize=1)
def _by_id() -> dict[str, ActorDefinition]:
    return {definition.id: definition for definition in definitions()}


def find(type_id: str) -> ActorDefinition | None:
    """The blueprint of that id; None when there is none."""
    return _by_id().get(type_id)


def describe(type_id: str, **attributes: str) -> ActorDescription:
    """A description with the blueprint's defaults and ``attributes`` over them; KeyError if unknown."""
    definition = _by_id()[type_id]
    values = [
        ActorAttributeValue(row.id, row.type, attributes.get(row.id, row.value))
        for row in definition.attributes
    ]
    return ActorDescription(definition.uid, type_id, values)


def age_of(description: ActorDescription) -> str:
    """ "adult" or "child", of a walker's complete description."""
    return next(row.value for row in description.attributes if row.id == "age")


def complete(description: ActorDescription) -> ActorDescription | None:
    """The description with the blueprint's attributes: unknown ones dropped, missing and fixed ones default.

    None when there is no such blueprint.
    """
    definition = _by_id().get(description.id)
    if definition is None:
        return None
    given = {attribute.id: attribute.value for attribute in description.attributes}
    values = [
        ActorAttributeValue(
            row.id, row.type, given.get(row.id, row.value) if row.is_modifiable else row.value
        )
        for row in definition.attributes
    ]
    return ActorDescription(definition.uid, definition.id, values)


@lru_cache(maxsize=64)
def physics_control(type_id: str) -> VehiclePhysicsControl:
    """A vehicle's physics control by its model, with the wheels' positions in its own frame, in centimetres.

    All numbers are float32 values, so that a client which reads and applies them changes nothing.
    """
    model = models.model_of(type_id)
    drivetrain = model.drivetrain
    front, side = 50.0 * model.wheelbase, 50.0 * model.track
    radius = 100.0 * models.WHEEL_RADIUS
    control = VehiclePhysicsControl(
        torque_curve=[Vector2D(*point) for point in drivetrain.torque_curve],
        max_rpm=drivetrain.max_rpm,
        moi=1.0,
        damping_rate_full_throttle=0.15,
        damping_rate_zero_throttle_clutch_engaged=2.0,
        damping_rate_zero_throttle_clutch_disengaged=0.35,
        use_gear_autobox=True,
        gear_switch_time=0.0,
        clutch_strength=10.0,
        final_ratio=drivetrain.final_ratio,
        forward_gears=[GearPhysicsControl(*gear) for gear in drivetrain.gears],
        mass=model.mass,
        drag_coefficient=model.drag_coefficient,
        center_of_mass=Vector3D(),
        steering_curve=[Vector2D(*point) for point in zip(*models.STEERING_CURVE, strict=True)],
        wheels=[
            WheelPhysicsControl(
                tire_friction=USUAL_FRICTION,
                max_steer_angle=models.MAX_STEER_DEG if x > 0 else 0.0,
                radius=radius,
                max_handbrake_torque=0.0 if x > 0 else 3000.0,
                position=Vector3D(x, y, radius),
            )
            for x, y in ((front, -side), (front, side), (-front, -side), (-front, side))
        ],
    )
    return _as_float32(control)


def _as_float32(value: T) -> T:
    """A structure with every float replaced by the nearest float32, which is what a client holds."""
    if isinstance(value, float):
        return cast(T, struct.unpack("f", struct.pack("f", value))[0])
    if isinstance(value, tuple):
        return type(value)(*map(_as_float32, value))
    return cast(T, list(map(_as_float32, value))) if isinstance(value, list) else value
