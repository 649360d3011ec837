"""What all tests of training take for granted."""

import signal

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """With networks this small, several threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def hangups_are_heard():
    """Under ``nohup`` a hangup is ignored, by a training as well; these tests send some."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
