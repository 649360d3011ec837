"""Vehicle models: sizes as CARLA 0.9.16 has them, performance as the makers publish it.

``bodies.model`` is an index into :data:`MODELS`; :func:`find` gives it for a CARLA
blueprint id, and :func:`model_of` the model.

The box (half length, width, height) is that of CARLA's blueprint, to a centimetre,
because clients plan with it.  Mass, power, top speed, wheelbase and turning circle
(kerb to kerb) are those of the real vehicle.  The launch acceleration stands for gear
ratios, torque limits and traction together; it was set so that the measured 0-100 km/h
agrees with the published one.

The engine, gears and wheels that a client reads in CARLA's physics control are worked out from these
figures (:attr:`VehicleModel.drivetrain`).  :mod:`minicarla.physics.handling` applies what clients change.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minicarla.bodies import Bodies

GRAVITY = 9.81
USUAL_FRICTION = 3.5
"""CARLA's ``tire_friction`` of every blueprint; the grip of the models belongs to this value."""
MAX_STEER_DEG = 70.0
"""Degrees that ``steer`` = 1 asks of the inner front wheel at rest: CARLA's ``max_steer_angle``.

It is CARLA's value, so that controllers tuned on CARLA find the same gain.  The wheels stop at the angle
that gives the published turning circle.
"""
STEERING_CURVE = ((0.0, 20.0, 60.0, 120.0), (1.0, 0.9, 0.8, 0.7))
"""CARLA's steering curve for cars: speeds in km/h, and shares of the steering range."""
BRAKING = 11.0
"""m/s^2 at full pedal.  It is more than the tyres hold, so the tyres are the limit."""
HAND_BRAKE = 5.0  # m/s^2 of the rear axle
ENGINE_DRAG = 0.5  # m/s^2 with the foot off the throttle
STIFFNESS = 110.0  # m/s^2 per rad of slip: cornering stiffness of the tyres over the mass
ROLLING = 0.12  # m/s^2 of rolling resistance
CHARACTERISTIC_SPEED = 28.0  # m/s, v_ch of the understeer
AIR = 1.2  # kg/m^3
WHEEL_RADIUS = 0.35
UP_RATIO = 0.8
"""Share of the highest engine speed at which the automatic gearbox shifts up."""


class Drivetrain(NamedTuple):
    """Engine and gears that give a vehicle its thrust, as CARLA's physics control describes them."""

    torque_curve: tuple[tuple[float, float], ...]
    """(rpm, N m)"""
    max_rpm: float
    final_ratio: float
    gears: tuple[tuple[float, float, float], ...]
    """(ratio, share of ``max_rpm`` below which it shifts down, and above which it shifts up)"""


class VehicleModel(NamedTuple):
    """One vehicle; SI units, masses in kg, angles in degrees."""

    id: str
    """CARLA's blueprint id."""
    mass: float
    extent: tuple[float, float, float]
    """Half sizes of the box, metres."""
    wheelbase: float
    turning_circle: float
    """Diameter, kerb to kerb, metres."""
    power: float
    """At the wheels, kW."""
    top_speed: float
    """km/h"""
    launch: float
    """Largest acceleration from rest, m/s^2."""
    drive_front: float
    """Share of the drive force on the front axle."""
    drag_area: float
    """Drag coefficient times frontal area, m^2."""
    gears: int
    grip: float = 1.05
    """Friction coefficient of the tyres on dry asphalt."""

    @property
    def track(self) -> float:
        """Metres between the wheels of an axle; two-wheelers have none."""
        return 1.65 * self.extent[1] - 0.2 if self.extent[1] > 0.6 else 0.0

    @property
    def centre(self) -> tuple[float, float, float]:
        """Centre of the box in the vehicle's frame: its origin is on the ground."""
        return 0.0, 0.0, self.extent[2]

    @property
    def lock(self) -> float:
        """Largest angle of the inner front wheel, degrees.

        The outer front wheel runs on the published circle; the rear axle's centre then
        runs at ``sqrt(R^2 - wheelbase^2) - track / 2``.
        """
        radius = self.turning_circle / 2.0
        rear = math.sqrt(radius**2 - self.wheelbase**2) - self.track / 2.0
        return math.degrees(math.atan2(self.wheelbase, rear - self.track / 2.0))

    @property
    def drag_coefficient(self) -> float:
        """Relative to the front area of the box, as CARLA defines it."""
        return self.drag_area / (4.0 * self.extent[1] * self.extent[2])

    @property
    def drivetrain(self) -> Drivetrain:
        """Full torque up to some engine speed, full power from there on; top speed at the highest.

        Each gear is left at its share of the top speed (``dynamics``), so ratios fall as 1/gear.
        """
        final, highest = (9.0, 0.0) if self.gears == 1 else (4.0, 6000.0)
        per_speed = final / WHEEL_RADIUS * 60.0 / math.tau  # rpm per m/s at ratio 1
        top = self.top_speed / 3.6
        highest = highest or per_speed * top
        ratio = highest / (per_speed * top)  # of the last gear
        gears = tuple(
            (ratio * self.gears / k, UP_RATIO * (k - 1) / k, UP_RATIO) for k in range(1, self.gears + 1)
        )
        watts = 1000.0 * self.power
        knee = min(0.4, watts / (self.mass * self.launch) * self.gears / top)
        shares = (knee, *(s for s in (0.45, 0.5, 0.6, 0.7, 0.8, 0.9) if s > 1.05 * knee), 1.0)
        curve = [(highest * s, watts / (highest * s * math.tau / 60.0)) for s in shares]
        return Drivetrain(((0.0, curve[0][1]), *curve), highest, final, gears)


_ROWS: tuple[tuple[object, ...], ...] = (
    # id, mass, (half length, width, height), wheelbase, turning circle, kW, km/h, launch, front, CdA, gears
    # Model 3 Standard Range Plus: Tesla gives 0-100 km/h in 5.6 s, 225 km/h, a circle of 11.6 m,
    # a wheelbase of 2.875 m, Cd 0.23; CARLA gives the mass and the box.
    ("tesla.model3", 1845, (2.3958, 1.0817, 0.7438), 2.875, 11.6, 208, 225, 5.6, 0.0, 0.51, 1),
    ("audi.a2", 895, (1.85, 0.89, 0.77), 2.41, 10.5, 55, 173, 3.3, 1.0, 0.55, 5),
    ("audi.etron", 2490, (2.43, 1.02, 0.82), 2.93, 12.2, 300, 200, 5.3, 0.5, 0.74, 1),
    ("audi.tt", 1335, (2.09, 1.00, 0.69), 2.47, 11.0, 165, 250, 4.9, 0.5, 0.62, 6),
    ("bmw.grandtourer", 1540, (2.31, 1.12, 0.83), 2.78, 11.7, 140, 220, 4.4, 1.0, 0.72, 7),
    ("chevrolet.impala", 1760, (2.68, 1.02, 0.71), 2.84, 11.8, 225, 230, 4.6, 1.0, 0.68, 6),
    ("citroen.c3", 1050, (1.99, 0.93, 0.81), 2.54, 10.9, 61, 170, 3.3, 1.0, 0.68, 5),
    ("dodge.charger_2020", 1930, (2.50, 1.05, 0.77), 3.05, 11.7, 276, 240, 5.3, 0.0, 0.74, 8),
    ("dodge.charger_police", 1920, (2.49, 1.02, 0.77), 3.05, 11.7, 276, 240, 5.3, 0.0, 0.74, 8),
    ("dodge.charger_police_2020", 1930, (2.62, 1.05, 0.82), 3.05, 11.7, 276, 240, 5.3, 0.0, 0.76, 8),
    ("ford.crown", 1870, (2.68, 0.90, 0.79), 2.91, 12.0, 178, 193, 4.0, 0.0, 0.80, 4),
    ("ford.mustang", 1470, (2.36, 0.95, 0.65), 2.74, 11.6, 200, 195, 4.8, 0.0, 0.85, 4),
    ("jeep.wrangler_rubicon", 1880, (1.93, 0.95, 0.94), 2.42, 10.6, 209, 180, 4.4, 0.5, 1.10, 6),
    ("lincoln.mkz_2017", 1700, (2.45, 1.06, 0.76), 2.85, 11.9, 180, 210, 4.5, 1.0, 0.67, 6),
    ("lincoln.mkz_2020", 1700, (2.45, 0.92, 0.75), 2.85, 11.9, 180, 210, 4.5, 1.0, 0.67, 6),
    ("mercedes.coupe", 1670, (2.51, 1.08, 0.83), 2.76, 11.2, 150, 235, 4.4, 0.0, 0.60, 7),
    ("mercedes.coupe_2020", 1670, (2.34, 0.90, 0.72), 2.84, 11.2, 190, 250, 4.9, 0.0, 0.60, 9),
    ("micro.microlino", 513, (1.10, 0.74, 0.69), 1.57, 8.0, 12, 90, 2.3, 0.0, 0.60, 1),
    ("mini.cooper_s", 1150, (1.90, 0.99, 0.74), 2.47, 10.7, 125, 222, 4.6, 1.0, 0.68, 6),
    ("mini.cooper_s_2021", 1250, (2.28, 1.05, 0.88), 2.57, 11.4, 141, 235, 4.7, 1.0, 0.70, 7),
    ("nissan.micra", 920, (1.82, 0.92, 0.75), 2.43, 9.2, 59, 158, 3.3, 1.0, 0.70, 5),
    ("nissan.patrol", 2400, (2.30, 0.97, 0.93), 2.97, 12.2, 120, 160, 2.9, 0.5, 1.20, 5),
    ("nissan.patrol_2021", 2800, (2.78, 1.07, 1.02), 3.08, 12.5, 298, 210, 4.6, 0.5, 1.10, 7),
    ("seat.leon", 1220, (2.10, 0.91, 0.74), 2.58, 10.7, 92, 197, 3.8, 1.0, 0.68, 6),
    ("tesla.cybertruck", 3000, (3.14, 1.19, 1.05), 3.81, 14.4, 440, 180, 6.0, 0.4, 1.00, 1),
    ("toyota.prius", 1375, (2.26, 1.00, 0.76), 2.70, 10.4, 100, 180, 3.5, 1.0, 0.55, 1),
    ("mercedes.sprinter", 2360, (2.96, 0.99, 1.28), 3.67, 13.4, 120, 157, 2.8, 0.0, 1.50, 7),
    ("volkswagen.t2", 1300, (2.24, 1.03, 1.02), 2.40, 11.3, 50, 130, 2.4, 0.0, 1.30, 4),
    ("volkswagen.t2_2021", 1300, (2.22, 0.89, 0.99), 2.40, 11.3, 50, 130, 2.4, 0.0, 1.30, 4),
    ("ford.ambulance", 4500, (3.18, 1.18, 1.22), 3.51, 14.0, 240, 150, 2.8, 0.0, 2.00, 6),
    ("carlamotors.carlacola", 5500, (2.60, 1.31, 1.23), 3.40, 14.0, 150, 120, 2.0, 0.0, 3.50, 6),
    ("carlamotors.european_hgv", 8000, (3.97, 1.45, 1.73), 3.70, 15.0, 300, 110, 1.6, 0.0, 5.50, 6),
    ("carlamotors.firetruck", 15000, (4.23, 1.45, 1.91), 4.60, 18.0, 260, 110, 1.5, 0.0, 5.50, 6),
    ("mitsubishi.fusorosa", 6500, (5.14, 1.97, 2.13), 4.55, 17.0, 130, 110, 1.5, 0.0, 4.50, 6),
    ("harley-davidson.low_rider", 302, (1.18, 0.38, 0.82), 1.63, 5.6, 62, 180, 5.6, 0.0, 0.60, 6),
    ("kawasaki.ninja", 220, (1.02, 0.40, 0.73), 1.41, 5.6, 98, 260, 6.5, 0.0, 0.42, 6),
    ("vespa.zx125", 110, (0.90, 0.43, 0.62), 1.25, 4.0, 7, 92, 2.2, 0.0, 0.55, 1),
    ("yamaha.yzf", 200, (1.10, 0.43, 0.63), 1.40, 6.0, 130, 290, 6.5, 0.0, 0.40, 6),
    # A bicycle carries its rider's mass and power: a strong amateur's.
    ("bh.crossbike", 90, (0.74, 0.43, 0.54), 1.08, 3.2, 0.35, 36, 1.2, 0.0, 0.55, 1),
    ("diamondback.century", 90, (0.82, 0.19, 0.60), 1.00, 3.2, 0.40, 40, 1.3, 0.0, 0.45, 1),
    ("gazelle.omafiets", 95, (0.92, 0.16, 0.59), 1.12, 3.4, 0.25, 30, 1.0, 0.0, 0.60, 1),
)

MODELS: tuple[VehicleModel, ...] = tuple(
    VehicleModel(
        f"vehicle.{row[0]}",
        *row[1:],  # type: ignore[arg-type]
    )
    for row in _ROWS
)

_BY_ID = {model.id: index for index, model in enumerate(MODELS)}


def find(blueprint: str) -> int:
    """Index in :data:`MODELS` of a blueprint id ("vehicle.tesla.model3"); KeyError when unknown."""
    return _BY_ID[blueprint]


def model_of(blueprint: str) -> VehicleModel:
    """The model of a blueprint id; KeyError when unknown."""
    return MODELS[_BY_ID[blueprint]]


def front_wheels(model: int, inner: float) -> tuple[float, float]:
    """Angles of the left and the right front wheel in degrees, right positive, by Ackermann.

    model: index into :data:`MODELS`; inner: angle of the wheel inside the bend (``Bodies.wheel_angle``).
    """
    spec = MODELS[model]
    across = math.tan(math.radians(abs(inner)))
    outer = math.degrees(math.atan2(spec.wheelbase * across, spec.wheelbase + spec.track * across))
    outer = math.copysign(outer, inner)
    return (outer, inner) if inner > 0.0 else (inner, outer)


_YAW_RADIUS = 0.26
"""Radius of gyration about z per metre of length; Model 3: 0.26 * 4.79 m, about 2860 kg m^2."""


# Rows of the table: kg, W, m/s^2 ...
MASS, POWER, THRUST = range(3)
TOP, REVERSE_TOP = 3, 4  # m/s
WHEELBASE, HALF_TRACK = 5, 6  # m
LOCK = 7  # of the inner wheel, rad
GRIP = 8  # m/s^2
DRAG = 9  # N per (m/s)^2
REAR = 10  # distance of the rear axle from the centre of mass, m
GYRATION = 11  # squared radius about the vertical, m^2
GEARS = 12
STEER_RANGE = 13  # rad that ``steer`` = 1 asks for
BRAKE, PARKING, COASTING = 14, 15, 16  # of brakes, hand brake and engine, m/s^2
CORNERING = 17  # stiffness over mass, m/s^2 per rad


def table() -> NDArray[np.float64]:
    """(18, models) what the dynamics need, in SI units; the rows are named above."""
    return np.array(
        [
            (
                m.mass,
                1000.0 * m.power,
                m.launch,
                m.top_speed / 3.6,
                min(10.0, m.top_speed / 3.6),
                m.wheelbase,
                m.track / 2.0,
                math.radians(m.lock),
                m.grip * GRAVITY,
                0.5 * AIR * m.drag_area,
                0.5 * m.wheelbase,
                (_YAW_RADIUS * 2.0 * m.extent[0]) ** 2,
                float(m.gears),
                math.radians(MAX_STEER_DEG),
                BRAKING,
                HAND_BRAKE,
                ENGINE_DRAG,
                STIFFNESS,
            )
            for m in MODELS
        ]
    ).T.copy()


_TABLE = table()


def gyration(model: int) -> float:
    """Squared radius of gyration about the vertical, m^2; model: index into :data:`MODELS`."""
    return float(_TABLE[GYRATION, model])


def parameters(bodies: Bodies, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Columns of :func:`table` for these rows of ``bodies``, (18, n), with what clients changed."""
    columns = _TABLE[:, bodies.model[rows]]
    if bodies.handling:
        for actor_id, handling in bodies.handling.items():
            columns[:, rows == bodies.row(actor_id)] = handling.column[:, None]
    return columns
