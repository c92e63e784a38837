"""What may be going on when a fault strikes.

Decided here: which states are told apart, and how a fault that is aimed at one of them brings it about if
it does not come by itself. Every fault has to meet every state in some run, or a part of the worker was
never hit while it mattered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qa_service.simulation.world import World

_REPLAY_LASTS_S: Final = 1.0
"""An append longer than live ones counts as a replay for so long."""


@dataclass(frozen=True, slots=True)
class State:
    """Something that is going on, or is not."""

    name: str
    holds: Callable[[World], bool]
    provoke: Callable[[World], None] = lambda _: None
    """Bring it about, where that is not a matter of waiting."""


def _utterance_is_open(world: World) -> bool:
    return any(connection.engine.words for connection in world.around.recogniser.live)


def _final_is_owed(world: World) -> bool:
    return any(connection.finals_due for connection in world.around.recogniser.live)


def _session_is_opening(world: World) -> bool:
    return any(not connection.is_configured for connection in world.around.recogniser.live)


def _is_replaying(world: World) -> bool:
    since = world.loop.time() - _REPLAY_LASTS_S
    return any(connection.replayed_at > since for connection in world.around.recogniser.live)


def _write_is_under_way(world: World) -> bool:
    return world.around.database.writes_in_flight > 0


def _claim_is_under_way(world: World) -> bool:
    return any(worker.claims_waiting for worker in world.running)


def _is_rebalancing(world: World) -> bool:
    return world.around.broker.is_rebalancing


def _is_silent(world: World) -> bool:
    return bool(world.around.recogniser.live) and not _utterance_is_open(world)


def _all_is_said(world: World) -> bool:
    return world.is_published


def _shake(world: World) -> None:
    world.around.broker.shake()


def _drop_sessions(world: World) -> None:
    for connection in world.around.recogniser.live:
        connection.drop()


STATES: Final = (
    State("utterance open", _utterance_is_open),
    State("final owed", _final_is_owed),
    State("session opening", _session_is_opening, _drop_sessions),
    State("replay", _is_replaying, _drop_sessions),
    State("write under way", _write_is_under_way),
    State("claim under way", _claim_is_under_way, _shake),
    State("rebalance", _is_rebalancing, _shake),
    State("silence", _is_silent),
    State("all said", _all_is_said),
)
"""Several hold at once, as a rule."""

STATE_NAMES: Final = tuple(state.name for state in STATES)
