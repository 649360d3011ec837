"""Signals while a command sets up."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time

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


def test_a_second_signal_ends_what_is_stuck_in_one_call():
    """A mutex that is locked twice: no signal interrupts the wait, as in one long call into C++."""
    program = """
        import ctypes
        from av_td3.training.signals import StopRequest
        StopRequest.HARD_S = 0.2
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        with StopRequest().on_signals():
            libc.pthread_mutex_lock(mutex)
            print("stuck", flush=True)
            libc.pthread_mutex_lock(mutex)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None, "the first signal asks"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
