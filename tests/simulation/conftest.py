"""What tests of the simulation share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from random import Random

import pytest
import structlog

from qa_service.simulation.loop import VirtualLoop
from qa_service.simulation.network import Network


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """A worker whose world breaks down complains a lot."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.bury()


@pytest.fixture
def network() -> Network:
    return Network(Random(1))
