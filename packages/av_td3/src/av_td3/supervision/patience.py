"""How long to wait for a simulator, how long to pause after a failure, and when to give up."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from av_td3.config import EnvConfig, SimulatorConfig

Operation = Literal["start", "map", "reset", "step"]

LONGEST_BACK_OFF_S = 10.0
"""Longest pause before a failed simulator is started again."""
SLOWEST_TIMES = 5.0
"""A deadline is at least so many times what the slowest of the last operations took."""
REMEMBERED = 100
"""Operations of a kind that are remembered."""
LARGEST_EXTENSION = 8.0
"""Deadlines are doubled for each one that was missed in a row, up to this factor."""
HOUR = 3600.0


class Patience:
    """Deadlines that follow what this run has measured of its own simulator.

    A deadline is the configured one, or :data:`SLOWEST_TIMES` the slowest of the last operations if that is
    longer.  So a machine that is slow is not taken for one that hangs.  When a new server misses a deadline,
    the next attempt gets twice the time, until one succeeds.

    After a failure the worker and the server that failed may get another try.  Such a retry gets only the
    time that the operation usually takes (:meth:`retry_limit`): a server that hangs is replaced in seconds,
    and one that is slow costs a restart.
    """

    def __init__(self, simulator: SimulatorConfig) -> None:
        self._configured: dict[Operation, float] = {
            "start": simulator.start_deadline_s,
            "map": simulator.map_deadline_s,
            "reset": simulator.reset_deadline_s,
            "step": simulator.step_deadline_s,
        }
        self._client_timeout = simulator.client_timeout_s
        self._took: dict[Operation, deque[float]] = {
            operation: deque(maxlen=REMEMBERED) for operation in self._configured
        }
        self._extension = 1.0

    def limit(self, operation: Operation) -> float:
        """Seconds that an operation may take now."""
        needed = SLOWEST_TIMES * max(self._took[operation], default=0.0)
        return max(self._configured[operation], needed) * self._extension

    def retry_limit(self, operation: Operation) -> float:
        """Seconds that an operation may take that is tried again with a worker or a server that failed."""
        took = self._took[operation]
        if not took:
            return self.limit(operation)
        # The lower median: of two resets, the first had to set everything up.
        usual = self._client_timeout + SLOWEST_TIMES * statistics.median_low(took)
        return min(usual, self.limit(operation))

    @property
    def client_timeout(self) -> float:
        """Seconds that one call of the client may take, if the worker were started now."""
        needed = SLOWEST_TIMES * max(self._took["step"], default=0.0)
        return max(self._client_timeout, needed) * self._extension

    def took(self, operation: Operation, seconds: float) -> None:
        """An operation has succeeded."""
        self._took[operation].append(seconds)
        if operation == "step":
            self._extension = 1.0

    def missed(self) -> None:
        """A deadline has passed, and the server is new or somebody else's: perhaps the machine is slow."""
        self._extension = min(LARGEST_EXTENSION, 2.0 * self._extension)

    def applied(self, config: EnvConfig, *, retry: bool = False) -> EnvConfig:
        """The configuration for a worker that is started now; ``retry``: on a server that failed."""
        limits = {
            "start_deadline_s": self.limit("start"),
            "map_deadline_s": self.retry_limit("map") if retry else self.limit("map"),
            "client_timeout_s": self.client_timeout,
        }
        return config.model_copy(update={"simulator": config.simulator.model_copy(update=limits)})


class RestartBudget:
    """How many failures are too many: in a row, within an hour, and in all."""

    def __init__(self, simulator: SimulatorConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._simulator, self._clock = simulator, clock
        self.in_a_row = 0
        """Failures without a finished step between them."""
        self.in_all = 0
        self._recent: deque[float] = deque()

    def failed(self) -> str:
        """Count a failure; why it is one too many, or an empty text."""
        now = self._clock()
        self.in_a_row += 1
        self.in_all += 1
        self._recent.append(now)
        while self._recent[0] <= now - HOUR:
            self._recent.popleft()
        simulator = self._simulator
        if self.in_a_row > simulator.max_consecutive_restarts:
            return f"{self.in_a_row} times in a row"
        if len(self._recent) > simulator.max_restarts_per_hour:
            return f"{len(self._recent)} times within an hour (env.simulator.max_restarts_per_hour)"
        if self.in_all > simulator.max_restarts:
            return f"{self.in_all} times in all (env.simulator.max_restarts)"
        return ""

    def worked(self) -> None:
        """A step was made."""
        self.in_a_row = 0

    @property
    def pause(self) -> float:
        """Seconds to wait before the next start: twice as long after each failure in a row."""
        return min(LONGEST_BACK_OFF_S, 0.25 * 2 ** (self.in_a_row - 1)) if self.in_a_row else 0.0
