"""Recording what happens, replaying it, and CARLA's reports about a recording."""

from minicarla.world.recording.file import Recording, RecordingError
from minicarla.world.recording.recorder import SimulationRecorder
from minicarla.world.recording.replay import Replayer, ReplayOptions

__all__ = ["Recording", "RecordingError", "ReplayOptions", "Replayer", "SimulationRecorder"]
