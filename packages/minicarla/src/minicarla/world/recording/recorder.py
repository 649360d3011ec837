"""The recorder of a world: whether it is recording, and whether it is replaying."""

from __future__ import annotations

import logging

from minicarla.world.episode import WorldEpisode
from minicarla.world.recording.file import RecordingWriter
from minicarla.world.recording.replay import Replayer, ReplayOptions

log = logging.getLogger("minicarla")


class SimulationRecorder:
    """At most one recording and one replay at a time; ``options`` hold for all replays to come."""

    def __init__(self) -> None:
        self.options = ReplayOptions()
        self._writer: RecordingWriter | None = None
        self._replayer: Replayer | None = None

    def start(self, name: str, episode: WorldEpisode, additional: bool = False) -> str:
        """Record from the next tick on; returns the file's path.

        additional: see :class:`~minicarla.world.recording.file.Details`.  RecordingError when the file
        cannot be written.
        """
        self.stop()
        self._writer = RecordingWriter(name, episode, additional)
        return str(self._writer.path)

    def stop(self) -> None:
        """Finish the recording, if there is one."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close()
            except OSError as error:
                log.error("the end of the recording %s is lost: %s", writer.path, error.strerror)

    def record(self) -> None:
        """Write the tick that has just been made, if a recording runs.

        A recording that cannot be written any more, on a full disk for instance, ends; the world goes on.
        """
        if self._writer is not None:
            try:
                self._writer.record()
            except OSError as error:
                log.error("the recording %s ends here: %s", self._writer.path, error.strerror)
                self.stop()

    def play(self, replayer: Replayer) -> str:
        """Replay from the next tick on; returns CARLA's summary."""
        self._replayer = replayer
        return replayer.summary()

    @property
    def replaying(self) -> bool:
        """Whether a replay runs.  Then it switches the traffic lights."""
        return self._replayer is not None

    def replay(self, dt: float) -> None:
        """Go on with the replay, if there is one, by ``dt`` simulated seconds; end it after its last tick."""
        if self._replayer is not None:
            if self._replayer.finished:
                self.stop_replay(keep_actors=True)
            else:
                self._replayer.advance(dt)

    def stop_replay(self, keep_actors: bool) -> None:
        """End the replay, if there is one."""
        if self._replayer is not None:
            self._replayer.stop(keep_actors)
            self._replayer = None

    def end_episode(self) -> None:
        """Finish the recording and drop the replay: their episode is over."""
        self.stop()
        self._replayer = None
