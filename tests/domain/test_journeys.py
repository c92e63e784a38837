"""Whole calls through the core, with everything going wrong: each word is transcribed once, in order."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings, strategies as st

from qa_service.domain.entries import Gap, LegEnded, Utterance
from tests.domain.worlds import Trouble, World, write_script

THOROUGH = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32)


def check(world: World) -> None:
    """What holds of every run, however it went."""
    assert world.transcript() == world.script.words
    assert not world.heard & world.script.secrets
    assert [entry.call_seq for entry in world.entries] == list(range(1, len(world.entries) + 1))
    assert LegEnded("idle") not in [entry.body for entry in world.entries]  # no end was overlooked
    for leg in world.script.words:
        check_tiling(world, leg)


def check_tiling(world: World, leg: str) -> None:
    """Releases follow each other without overlap, but for gaps inside an utterance."""
    covered, utterance = 0, None
    for release in world.releases(leg):
        if isinstance(release, Gap) and utterance and release.end_pos <= covered:
            assert utterance.start_pos <= release.start_pos
            continue
        assert covered <= release.start_pos <= release.end_pos
        covered = release.end_pos
        utterance = release if isinstance(release, Utterance) else None


@THOROUGH
@given(seed=seeds)
def test_an_undisturbed_call_is_transcribed_whole(seed: int) -> None:
    world = World(write_script(Random(seed)), Random(seed), Trouble(), extensions=True)

    world.run()

    check(world)


@THOROUGH
@given(seed=seeds)
def test_a_recogniser_that_tells_no_times_loses_no_word_either(seed: int) -> None:
    world = World(write_script(Random(seed)), Random(seed), Trouble(), extensions=False, tells_times=False)

    world.run()

    check(world)


@THOROUGH
@given(seed=seeds, losses=st.integers(0, 6), missing=st.integers(0, 2), extensions=st.booleans())
def test_lost_sessions_and_missing_finals_lose_no_word(
    *, seed: int, losses: int, missing: int, extensions: bool
) -> None:
    trouble = Trouble(losses=losses, missing_finals=missing)
    world = World(write_script(Random(seed)), Random(seed), trouble, extensions=extensions)

    world.run()

    check(world)


@THOROUGH
@given(seed=seeds, crashes=st.integers(0, 5), losses=st.integers(0, 3), extensions=st.booleans())
def test_crashes_lose_and_double_no_word(*, seed: int, crashes: int, losses: int, extensions: bool) -> None:
    trouble = Trouble(losses=losses, crashes=crashes)
    world = World(write_script(Random(seed)), Random(seed), trouble, extensions=extensions)

    world.run()

    check(world)


@THOROUGH
@given(seed=seeds, crashes=st.integers(1, 4))
def test_a_log_after_crashes_tells_the_same_story(seed: int, crashes: int) -> None:
    script = write_script(Random(seed))
    calm = World(script, Random(seed), Trouble(), extensions=True)
    crashing = World(script, Random(seed + 1), Trouble(crashes=crashes), extensions=True)

    calm.run()
    crashing.run()

    assert calm.transcript() == crashing.transcript()
    assert calm.milestones() == crashing.milestones()
