"""Signals while a command sets up."""

import contextlib
import os
import signal

import pytest

from av_td3.training.signals import raise_if_received, terminable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
