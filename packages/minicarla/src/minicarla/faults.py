"""Injected faults: failures of a simulator that can be switched on, to test programs that supervise it.

A specification is one or more faults, separated by ``;``::

    KIND[:TARGET][@KEY=VALUE[,KEY=VALUE...]]

========== ============ =====================================================================
kind       target       what happens
========== ============ =====================================================================
freeze                  the server answers and sends nothing, as if stopped (``for``: seconds)
delay                   the tick takes ``for`` seconds longer (default 0.1)
stall      stream       messages of the stream are withheld (``for``: seconds)
drop       stream       one message of the stream is lost (``count``: how many)
half       stream       half a message is sent, and nothing of the stream after it
oversize   stream       a message's length says 2 GB, and nothing of the stream follows
error      procedure    the next call is answered with an error (``count``: how many)
silence    procedure    the next call is not answered (``count``: how many)
hangup                  every connection is closed
restart                 the server closes and starts again on its port (``for``: seconds between)
kill                    the process sends itself SIGKILL
abort                   the process sends itself SIGABRT
========== ============ =====================================================================

A stream is ``world``, a stream's number, or part of a sensor's blueprint id (``camera``,
``sensor.other.collision``).

When a fault strikes: ``tick=N`` at the N-th tick since the server started, ``after=N`` N ticks after
the fault was armed, ``every=N`` at every N-th tick, ``random=P`` with probability P at each tick
(``seed=S``, default 0).  Without any of these it strikes at once.  A fault that strikes at a tick does so
before the tick is made.

Examples: ``freeze@tick=200``, ``kill@random=0.001,seed=3``, ``error:spawn_actor@tick=10``,
``stall:camera@after=5,for=2;drop:world@every=100``.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

STREAM_KINDS = ("stall", "drop", "half", "oversize")
CALL_KINDS = ("error", "silence")
SERVER_KINDS = ("freeze", "delay", "hangup", "restart", "kill", "abort")
TRIGGERS = ("tick", "after", "every", "random")
_OPTIONS = ("for", "count", "seed")
MAX_ARMED = 256


class FaultError(ValueError):
    """A fault specification that cannot be read; the message says why."""


@dataclass
class ServerFault:
    """One fault and when it strikes."""

    kind: str
    target: str = ""
    """The stream or procedure that it concerns."""
    trigger: str = ""
    """One of :data:`TRIGGERS`; "" strikes at once."""
    value: float = 0.0
    """Of the trigger."""
    seconds: float = math.inf
    """How long it lasts."""
    count: int = 1
    """How many calls or messages it concerns."""
    seed: int = 0
    armed_at: int = 0
    """The tick at which it was armed."""
    dice: random.Random = field(default_factory=random.Random, repr=False)

    def strikes(self, tick: int) -> bool:
        """Whether it strikes before this tick."""
        if self.trigger == "tick":
            return tick == self.value
        if self.trigger == "after":
            return tick - self.armed_at == self.value
        if self.trigger == "every":
            return tick % self.value == 0
        if self.trigger == "random":
            return self.dice.random() < self.value
        return True

    @property
    def once(self) -> bool:
        """Whether it strikes only once."""
        return self.trigger not in ("every", "random")


def parse(spec: str) -> list[ServerFault]:
    """The faults of a specification; FaultError when the text cannot be read as one."""
    return [_fault(part.strip()) for part in spec.split(";") if part.strip()]


def _fault(text: str) -> ServerFault:
    head, _, options = text.partition("@")
    kind, _, target = (part.strip() for part in head.partition(":"))
    if kind not in (*STREAM_KINDS, *CALL_KINDS, *SERVER_KINDS):
        known = ", ".join(sorted((*STREAM_KINDS, *CALL_KINDS, *SERVER_KINDS)))
        raise FaultError(f"fault {text!r}: no fault is called {kind!r} (there are {known})")
    if kind in SERVER_KINDS and target:
        raise FaultError(f"fault {text!r}: {kind} has no target")
    if kind not in SERVER_KINDS and not target:
        what = "a stream" if kind in STREAM_KINDS else "a procedure"
        raise FaultError(f"fault {text!r}: {kind} needs {what}, as in {kind}:NAME")
    fault = ServerFault(kind, target)
    if kind == "delay":
        fault.seconds = 0.1
    elif kind == "restart":
        fault.seconds = 0.0
    for option in filter(None, (part.strip() for part in options.split(","))):
        key, equals, number = (part.strip() for part in option.partition("="))
        if not equals or key not in (*TRIGGERS, *_OPTIONS):
            raise FaultError(
                f"fault {text!r}: cannot read {option!r} (keys: {', '.join((*TRIGGERS, *_OPTIONS))})"
            )
        try:
            value = float(number)
        except ValueError:
            raise FaultError(f"fault {text!r}: {key} must be a number, not {number!r}") from None
        _set(fault, text, key, value)
    fault.dice = random.Random(fault.seed)
    return fault


def _set(fault: ServerFault, text: str, key: str, value: float) -> None:
    whole = key in ("tick", "after", "every", "count", "seed")
    if not math.isfinite(value) or value < 0 or (whole and value != int(value)):
        raise FaultError(f"fault {text!r}: {key} cannot be {value:g}")
    if key == "random" and value > 1:
        raise FaultError(f"fault {text!r}: random={value:g} is not a probability; it must be at most 1")
    if key in ("every", "count", "tick") and value < 1:
        raise FaultError(f"fault {text!r}: {key} must be at least 1")
    if key in TRIGGERS:
        if fault.trigger:
            raise FaultError(f"fault {text!r}: give one of {fault.trigger} and {key}, not both")
        fault.trigger, fault.value = key, value
    elif key == "for":
        fault.seconds = value
    elif key == "count":
        fault.count = int(value)
    else:
        fault.seed = int(value)


@dataclass
class _Active:
    """A fault that has struck and still affects calls or messages."""

    fault: ServerFault
    left: int
    until: float  # time.monotonic()


class FaultInjector:
    """The faults of one server: those that wait, and those that affect calls and messages now."""

    def __init__(self, spec: str = "") -> None:
        self.tick = 0
        self.armed: list[ServerFault] = parse(spec)
        self._active: list[_Active] = []
        self.thawed = False  # ends a freeze

    def __bool__(self) -> bool:
        return bool(self.armed or self._active)

    def arm(self, spec: str) -> None:
        """Add faults; FaultError when the text cannot be read as a specification."""
        faults = parse(spec)
        if len(self.armed) + len(faults) > MAX_ARMED:
            raise FaultError(f"more than {MAX_ARMED} faults")
        for fault in faults:
            fault.armed_at = self.tick
        self.armed += faults

    def clear(self) -> None:
        """Forget all faults."""
        self.armed.clear()
        self._active.clear()
        self.thawed = True

    def strike(self, now: float, *, ticking: bool) -> list[ServerFault]:
        """Faults of the server that happen now.

        ticking: this is the moment before a tick; otherwise only faults without a trigger
            happen.  Faults for calls and streams come into force here as well.
        """
        if ticking:
            self.tick += 1
        struck: list[ServerFault] = []
        for fault in list(self.armed):
            if fault.trigger and not ticking:
                continue
            if not fault.strikes(self.tick):
                continue
            if fault.once:
                self.armed.remove(fault)
            if fault.kind in SERVER_KINDS:
                struck.append(fault)
            else:
                endless = fault.kind in ("stall", "half", "oversize")
                self._active.append(_Active(fault, -1 if endless else fault.count, now + fault.seconds))
        return struck

    def on_call(self, name: str, now: float) -> str:
        """ "error", "silence" or "" for a call of a procedure that came in."""
        for active in self._of(CALL_KINDS, now):
            if active.fault.target == name:
                return self._use(active)
        return ""

    def on_message(self, names: tuple[str, ...], now: float) -> str:
        """One of :data:`STREAM_KINDS` or "" for a message of the stream that goes by these names.

        The first is its number, the second ``world`` or its sensor's blueprint id.
        """
        for active in self._of(STREAM_KINDS, now):
            target = active.fault.target
            if target == names[0] or target in names[1]:
                kind = self._use(active)
                if kind in ("half", "oversize"):
                    active.fault = ServerFault("stall", names[0])
                return kind
        return ""

    def _of(self, kinds: tuple[str, ...], now: float) -> list[_Active]:
        if any(now >= active.until for active in self._active):
            self._active = [active for active in self._active if now < active.until]
        return [active for active in self._active if active.fault.kind in kinds]

    def _use(self, active: _Active) -> str:
        if active.left > 0:
            active.left -= 1
            if active.left == 0:
                self._active.remove(active)
        return active.fault.kind
