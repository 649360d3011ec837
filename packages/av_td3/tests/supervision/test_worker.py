"""What a worker answers, over a socket pair, with an environment that does what a test says."""

import socket
import threading
from multiprocessing.connection import Connection

import pytest

from av_td3.config import EnvConfig
from av_td3.driving import errors
from av_td3.driving.env import StepOutcome
from av_td3.supervision import protocol, worker

CONFIG = EnvConfig()


class FakeEnv:
    """Observes its own frame number; ``fails`` is raised by the next call."""

    fails: Exception | None = None
    closed = False

    def __init__(self, config, split, render_mode, *, own_server):
        assert config == CONFIG and (split, render_mode, own_server) == ("train", None, True)
        self.routes, self.frame, self.recorded_frame = [1, 2, 3], 0, None

    def begin(self, *, seed, options):
        if FakeEnv.fails is not None:
            raise FakeEnv.fails
        self.frame = 0
        return {"frame": 0, "seed": seed, "options": options}

    def drive(self, steer, pedal):
        self.frame += 1
        return StepOutcome(steer + pedal, False, True, {"frame": self.frame})

    def observe(self, image, vector):
        image[:], vector[:] = self.frame, self.frame

    def close(self):
        FakeEnv.closed = True


@pytest.fixture
def ask(monkeypatch):
    """Send a request to a worker in a thread of this process; its answer."""
    monkeypatch.setattr(worker, "CarlaDrivingEnv", FakeEnv)
    monkeypatch.setattr(FakeEnv, "fails", None)
    monkeypatch.setattr(FakeEnv, "closed", False)
    memory = protocol.ObservationMemory(CONFIG)
    ours, theirs = (Connection(end.detach()) for end in socket.socketpair())
    thread = threading.Thread(target=worker.Worker(theirs, memory.fd).serve)
    thread.start()

    def ask(**request):
        protocol.send(ours, request)
        assert ours.poll(60)
        return protocol.receive(ours)

    ask.slots, ask.thread, ask.close = memory.slots, thread, ours.close
    yield ask
    ours.close()  # the worker ends when nobody is there any more
    thread.join(60)
    assert not thread.is_alive()
    theirs.close()


@pytest.fixture
def opened(ask):
    config = CONFIG.model_dump(mode="json")
    answer = ask(do="open", config=config, split="train", render_mode=None, own_server=True)
    assert answer == {"ok": True, "routes": 3}
    return ask


def test_observations_are_written_in_turn_into_two_slots(opened):
    begun = opened(do="reset", seed=5, options={"route": 1})
    assert begun["info"] == {"frame": 0, "seed": 5, "options": {"route": 1}}
    stepped = [opened(do="step", steer=0.25, pedal=0.5) for _ in range(2)]
    assert [answer["slot"] for answer in stepped] == [begun["slot"], 1 - begun["slot"]][::-1]
    for frame, answer in enumerate(stepped, start=1):
        assert answer["info"]["frame"] == frame and answer["ok"]
        assert (answer["reward"], answer["terminated"], answer["truncated"]) == (0.75, False, True)
        slot = opened.slots[answer["slot"]]
        assert (slot.image == frame).all() and (slot.vector == frame).all()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.SimulatorUnreachableError("x"), "unreachable"),
        (errors.ServerTakenError("x"), "taken"),
        (errors.MapUnavailableError("x"), "setup"),
        (errors.UsageError("x"), "usage"),
        (errors.SimulatorFaultError("x"), "fault"),
        (ZeroDivisionError("x"), "fault"),
    ],
)
def test_a_failure_is_answered_by_what_helps_against_it(opened, error, kind):
    FakeEnv.fails = error
    answer = opened(do="reset", seed=0, options=None)
    told = f"{type(error).__name__}: x" if kind == "fault" else "x"
    assert answer == {"ok": False, "kind": kind, "text": told}
    FakeEnv.fails = None
    assert opened(do="reset", seed=0, options=None)["ok"], "it goes on"


def test_what_comes_too_early_is_a_fault(ask):
    assert "open comes first" in ask(do="step", steer=0.0, pedal=0.0)["text"]


def test_it_closes_the_environment_when_told_to(opened):
    assert opened(do="close") == {"ok": True}
    opened.thread.join(60)
    assert FakeEnv.closed and not opened.thread.is_alive()


def test_without_an_environment_there_is_nothing_to_close(ask):
    assert ask(do="close") == {"ok": True} and not FakeEnv.closed
