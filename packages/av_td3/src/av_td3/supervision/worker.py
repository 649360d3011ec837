"""The worker process: owns the driving environment, and with it CARLA's client.

    python -m av_td3.supervision.worker CONNECTION_FD MEMORY_FD

Started by the supervisor only; MEMORY_FD is -1 when that is on another machine.  It answers requests in turn
(see ``protocol``), ends when the supervisor does (``process.Child``), and leaves through ``os._exit``: the
client's threads abort a normal exit now and then.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from av_td3.config import EnvConfig, Split
from av_td3.driving.env import CarlaDrivingEnv
from av_td3.driving.errors import ServerTakenError, SetupError, SimulatorUnreachableError, UsageError
from av_td3.supervision import protocol
from av_td3.supervision.process import set_process_name


class Worker:
    """Serves requests until told to close."""

    def __init__(self, connection: Connection, memory_fd: int) -> None:
        self._connection, self._memory_fd = connection, memory_fd
        self._env: CarlaDrivingEnv | None = None
        self._memory: protocol.ObservationMemory | None = None
        self._is_remote = memory_fd < 0
        self._slot = 0

    def serve(self) -> None:
        """Answer until the supervisor closes or is gone."""
        while True:
            try:
                request = protocol.receive(self._connection)
            except EOFError:
                return
            action = request.pop("do")
            try:
                answer = getattr(self, f"_do_{action}")(**request)
            except SimulatorUnreachableError as error:
                answer = {"ok": False, "kind": "unreachable", "text": str(error)}
            except ServerTakenError as error:
                answer = {"ok": False, "kind": "taken", "text": str(error)}
            except SetupError as error:
                answer = {"ok": False, "kind": "setup", "text": str(error)}
            except UsageError as error:
                answer = {"ok": False, "kind": "usage", "text": str(error)}
            except Exception as error:
                traceback.print_exc()
                answer = {"ok": False, "kind": "fault", "text": f"{type(error).__name__}: {error}"}
            sys.stderr.flush()
            protocol.send(self._connection, {"ok": True, **(answer or {})})
            if action == "close":
                return

    def _do_open(
        self, config: dict[str, Any], split: Split, render_mode: str | None, own_server: bool
    ) -> dict[str, Any]:
        parsed = EnvConfig.model_validate(config)
        if self._env is not None:  # the simulator has failed: another client may do better
            failed, self._env = self._env, None
            with contextlib.suppress(Exception):
                failed.close()
        self._memory = protocol.ObservationMemory(parsed, None if self._is_remote else self._memory_fd)
        self._env = CarlaDrivingEnv(parsed, split, render_mode, own_server=own_server)
        return {"routes": len(self._env.routes)}

    def _do_reset(self, seed: int, options: dict[str, Any] | None) -> dict[str, Any]:
        info = self._opened().begin(seed=seed, options=options)
        return {"info": info, **self._publish()}

    def _do_step(self, steer: float, pedal: float) -> dict[str, Any]:
        outcome = self._opened().drive(steer, pedal)
        return {**outcome._asdict(), **self._publish()}

    def _do_close(self) -> None:
        if self._env is not None:
            self._env.close()

    def _publish(self) -> dict[str, Any]:
        """Write the observation into the slot that the supervisor does not read; what the answer says of it.

        That is the slot's number, or, where no memory is shared, what is in it.
        """
        assert self._memory is not None
        self._slot = (self._slot + 1) % len(self._memory.slots)
        slot = self._memory.slots[self._slot]
        env = self._opened()
        env.observe(slot.image, slot.vector)
        if env.recorded_frame is not None:
            slot.video[:] = env.recorded_frame
        if self._is_remote:
            return dict(protocol.packed(slot, env.recorded_frame is not None))
        return {"slot": self._slot}

    def _opened(self) -> CarlaDrivingEnv:
        assert self._env is not None, "open comes first"
        return self._env


def main() -> None:
    """Entry point of the process."""
    connection_fd, memory_fd = map(int, sys.argv[1:3])
    faulthandler.enable()  # a crash of the client leaves a stack in the log
    set_process_name("av-td3-worker")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    status = 0
    try:
        Worker(Connection(connection_fd), memory_fd).serve()
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
