"""Signals while a command sets up."""

import contextlib
import os
import signal

import pytest

from av_td3.training.signals import raise_if_received, terminable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_swallowed_interrupt_is_raised_again(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), terminable():
        with contextlib.suppress(BaseException):  # as a library's bare except does
            os.kill(os.getpid(), number)
            signal.pause()
        raise_if_received()
    assert signal.getsignal(number) is before
    raise_if_received()  # what is past is past


def test_without_a_signal_nothing_is_raised():
    with terminable():
        raise_if_received()


def test_under_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
            raise_if_received()
    finally:
        signal.signal(signal.SIGHUP, before)
