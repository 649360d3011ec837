"""Vehicle models and dynamics, box collisions."""

from minicarla.physics.contacts import Contact
from minicarla.physics.dynamics import Physics
from minicarla.physics.models import MODELS, VehicleModel, find, model_of

__all__ = ["MODELS", "Contact", "Physics", "VehicleModel", "find", "model_of"]
