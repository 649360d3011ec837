"""Vehicle models and dynamics, box collisions."""

from minicarla.physics.contacts import BodyContact
from minicarla.physics.dynamics import Physics
from minicarla.physics.models import MODELS, VehicleModel, find, model_of

__all__ = ["MODELS", "BodyContact", "Physics", "VehicleModel", "find", "model_of"]
