from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from qa_service.audio.ogg import (
    MAX_HOLE_SAMPLES,
    AudioPacket,
    Damage,
    Missing,
    OggEvent,
    OggReader,
    StreamBegun,
)
from tests.support.opus import NO_GRANULE, PRE_SKIP, ogg_page, ogg_pages, opus_head, opus_tags

# Packets of 20 ms whose contents are their number; the reader does not look further than their first byte.
PACKETS = [bytes([0x48, number]) for number in range(12)]
FRAME = 960


def read(*pieces: bytes) -> list[OggEvent]:
    reader = OggReader()
    return [event for piece in pieces for event in reader.push(piece)]


def packets_of(events: list[OggEvent]) -> list[bytes]:
    return [event.packet for event in events if isinstance(event, AudioPacket)]


@given(st.lists(st.integers(1, 200), max_size=30), st.integers(1, 12))
def test_packets_are_found_wherever_the_stream_is_cut(cuts, per_page):
    stream = b"".join(ogg_pages(PACKETS, per_page=per_page))
    pieces = []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]

    assert [StreamBegun(PRE_SKIP, 1.0), *map(AudioPacket, PACKETS)] == read(*pieces, stream)


def test_a_packet_may_go_on_over_pages():
    long = bytes([0x48]) + bytes(range(256)) * 5
    pages = ogg_pages([])
    pages += [
        ogg_page([PACKETS[0], long[:510]], sequence=2, granule=FRAME, goes_on=True),
        ogg_page([long[510:1020]], sequence=3, granule=NO_GRANULE, continued=True, goes_on=True),
        ogg_page([long[1020:], PACKETS[1]], sequence=4, granule=3 * FRAME, continued=True),
    ]

    assert packets_of(read(*pages)) == [PACKETS[0], long, PACKETS[1]]


def test_tags_of_any_size_are_passed_over():
    tags = opus_tags(255 * 250 * 3 - 8)
    pages = ogg_pages(PACKETS)[:1]
    step = 255 * 250
    pages += [
        ogg_page([tags[n * step : (n + 1) * step]], sequence=1 + n, continued=n > 0, goes_on=n < 2)
        for n in range(3)
    ]
    pages.append(ogg_page(PACKETS, sequence=4, granule=12 * FRAME))

    assert packets_of(read(*pages)) == PACKETS


def test_chained_streams_begin_anew_each():
    first, second = ogg_pages(PACKETS[:5], serial=1), ogg_pages(PACKETS[5:], serial=2)
    events = read(b"".join(first + second))

    assert packets_of(events) == PACKETS
    assert [event for event in events if not isinstance(event, AudioPacket)] == [
        StreamBegun(PRE_SKIP, 1.0)
    ] * 2


def test_other_streams_in_between_are_passed_over():
    pages = ogg_pages(PACKETS)
    foreign = [
        ogg_page([b"fishead"], sequence=0, serial=99, first=True),
        ogg_page([b"x"], sequence=1, serial=99),
    ]
    mixed = [pages[0], foreign[0], pages[1], foreign[1], *pages[2:]]

    assert packets_of(read(*mixed)) == PACKETS


def test_what_the_header_says_of_level_and_start_is_told():
    pages = ogg_pages(PACKETS, head=opus_head(pre_skip=100, gain=-6 * 256))

    assert read(*pages)[0] == StreamBegun(100, pytest.approx(0.501, abs=0.001))


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (opus_head()[:12], "header of the Opus stream is damaged"),
        (opus_head(version=16), "version"),
        (opus_head(channels=6), "more than two channels"),
        (opus_head(channels=2)[:-1] + b"\x01\x02\x00\x00\x01", "more than two channels"),
        (b"\x01vorbis", "no Opus stream"),
    ],
)
def test_streams_that_cannot_be_read_are_told_of(head, why):
    events = read(*ogg_pages(PACKETS, head=head))

    assert packets_of(events) == []
    assert any(isinstance(event, Damage) and why in event.reason for event in events)


@pytest.mark.parametrize("place", [0, 4, 6, 14, 18, 22, 26, 27, 28])
def test_a_damaged_page_costs_itself_alone(place):
    """Whichever part of its header or body it is."""
    pages = ogg_pages(PACKETS)
    damaged = bytearray(pages[5])
    damaged[place] ^= 0x55
    events = read(*pages[:5], bytes(damaged), *pages[6:])

    assert packets_of(events) == PACKETS[:3] + PACKETS[4:]
    assert [event for event in events if isinstance(event, Missing)] == [Missing(FRAME)]
    assert any(isinstance(event, Damage) for event in events)


def test_a_page_cut_short_does_not_swallow_those_after_it():
    pages = ogg_pages(PACKETS, per_page=4)
    events = read(*pages[:3], pages[3][:30], pages[4])

    assert packets_of(events) == PACKETS[:4] + PACKETS[8:]
    assert Missing(4 * FRAME) in events


def test_noise_between_pages_is_passed_over():
    pages = ogg_pages(PACKETS)
    events = read(*pages[:6], b"no page at all" * 100, *pages[6:])

    assert packets_of(events) == PACKETS
    assert not any(isinstance(event, Missing) for event in events)


def test_the_rest_of_a_packet_whose_beginning_was_lost_is_left_out():
    long = bytes([0x48]) + bytes(range(256)) * 2
    pages = ogg_pages(PACKETS[:2])
    lost = ogg_page([long[:510]], sequence=4, granule=NO_GRANULE, goes_on=True)
    rest = ogg_page([long[510:], PACKETS[2]], sequence=5, granule=4 * FRAME, continued=True)
    whole, cut = read(*pages, lost, rest), read(*pages, rest)

    assert packets_of(whole) == [*PACKETS[:2], long, PACKETS[2]]
    assert packets_of(cut) == PACKETS[:3]
    assert Missing(FRAME) in cut


def test_no_more_is_believed_to_be_missing_than_makes_sense():
    pages = ogg_pages(PACKETS[:3])
    far = ogg_page([PACKETS[3]], sequence=90, granule=2**50)

    assert Missing(MAX_HOLE_SAMPLES) in read(*pages, far)


@settings(max_examples=200)
@given(st.data())
def test_any_damage_is_survived(data):
    """No exception, bounded memory, and what comes after it is read."""
    stream = bytearray(b"".join(ogg_pages(PACKETS, per_page=3)))
    for _ in range(data.draw(st.integers(0, 8))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    reader = OggReader()
    for start in range(0, len(stream), 50):
        list(reader.push(bytes(stream[start : start + 50])))
    healthy = b"".join(ogg_pages(PACKETS, serial=8))
    # As long as a page can be at most: a damaged length may wait for so much.
    events = [event for _ in range(66_000 // len(healthy) + 2) for event in reader.push(healthy)]

    assert packets_of(events)[-len(PACKETS) :] == PACKETS
    assert len(reader._buffer) < 70_000
