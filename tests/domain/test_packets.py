"""Opus on a leg: what a recogniser is sent is what a decoder of the whole stream hears, whatever happens."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from qa_service.audio.opus import OpusDecoder
from qa_service.contract.codecs import count_samples
from qa_service.contract.errors import ContractViolation, Reason
from qa_service.contract.records import AudioFrame, LegStart
from qa_service.domain.actions import Append, DamagedPackets, OpenSession
from qa_service.domain.arrival import Arrival
from qa_service.domain.leg import Leg
from qa_service.domain.packets import PacketDecoder
from tests.domain.builders import ORIGIN_TS, a_partition, in_call, session_updated, start
from tests.support.opus import encode_opus, syllables

RATE = 8000
FRAME = 160
PACKETS = encode_opus(syllables(2.0, RATE), RATE)[:100]
DAMAGED = b"\x4b\x41\xff\xff"  # says 20 ms, and more padding than there are bytes
HEARD = b"".join(map(OpusDecoder(RATE).decode, PACKETS))


def arrival(index: int, packet: bytes | None = None) -> Arrival:
    packet = PACKETS[index] if packet is None else packet
    return Arrival(index * FRAME, count_samples("opus", packet, RATE), index, index, "opus", packet)


def a_leg() -> Leg:
    return Leg(codec="opus", rate=RATE)


def feed(leg: Leg, *arrivals: Arrival) -> None:
    for frame in arrivals:
        leg.accept(frame, now=frame.seq * 0.02)


def sent(leg: Leg, session: int = 1) -> bytes:
    outputs = leg.take_outputs()
    return b"".join(o.pcm for o in outputs if isinstance(o, Append) and o.number == session)


def whole(count: int) -> bytes:
    return HEARD[: 2 * count * FRAME]


def test_a_leg_of_opus_is_sent_as_pcm() -> None:
    leg = a_leg()
    feed(leg, *map(arrival, range(100)))

    assert sent(leg) == whole(100)


def test_packets_that_overtook_each_other_are_decoded_in_their_order() -> None:
    leg = a_leg()
    order = [0, 1, 3, 2, 4, 6, 7, 5, *range(8, 100)]
    feed(leg, *map(arrival, order))

    assert sent(leg) == whole(100)


def test_a_replay_sends_what_the_lost_session_was_sent() -> None:
    leg = a_leg()
    feed(leg, *map(arrival, range(60)))
    leg.receive(1, session_updated(extensions=True), now=1.2, at_ms=0)
    first = sent(leg)
    leg.session_lost(1, now=1.2)
    leg.tick(now=10.0, read_until=10.0)
    outputs = leg.take_outputs()
    replayed = b"".join(o.pcm for o in outputs if isinstance(o, Append))
    feed(leg, *map(arrival, range(60, 100)))

    assert [o.number for o in outputs if isinstance(o, OpenSession)] == [2]
    assert replayed == first
    assert replayed + sent(leg, session=2) == whole(100)


@pytest.mark.parametrize("damaged", [DAMAGED, b"\x48\xff\xff\xff"])
def test_a_damaged_packet_keeps_its_place(damaged: bytes) -> None:
    leg = a_leg()
    feed(leg, *map(arrival, range(50)), arrival(50, damaged), *map(arrival, range(51, 100)))
    pcm = sent(leg)
    after = slice(2 * 60 * FRAME, None)
    likeness = np.corrcoef(np.frombuffer(pcm[after], "<i2"), np.frombuffer(HEARD[after], "<i2"))[0, 1]

    assert len(pcm) == len(HEARD)
    assert pcm[: 2 * 50 * FRAME] == whole(50)
    assert likeness > 0.9


def test_damaged_packets_are_told_once_a_batch_and_the_first_of_a_leg_as_such() -> None:
    leg = a_leg()
    damaged = {3, 4, 30, 31, 55}
    for index in range(100):
        feed(leg, arrival(index, DAMAGED if index in damaged else None))
    told = [output for output in leg.take_outputs() if isinstance(output, DamagedPackets)]

    assert told == [
        DamagedPackets(2, is_first=True),
        DamagedPackets(2, is_first=False),
        DamagedPackets(1, is_first=False),
    ]


def test_nothing_is_told_of_packets_that_are_sound_or_lost() -> None:
    leg = a_leg()
    feed(leg, *map(arrival, range(50)), *map(arrival, range(55, 100)))

    assert not [output for output in leg.take_outputs() if isinstance(output, DamagedPackets)]


def test_a_partition_tells_on_which_leg_packets_were_damaged() -> None:
    partition = a_partition()
    opened = LegStart("customer", ORIGIN_TS, "opus", 8000, start().info)
    frames = [AudioFrame("customer", n * FRAME, n, ORIGIN_TS + 20 * n, DAMAGED) for n in range(10)]
    for offset, record in enumerate([opened, *frames]):
        partition.handle(in_call(record), offset, record_ms=0, now=0.0)
    told = partition.take_damaged()

    assert {key.leg_id for key, _ in told} == {"customer"}
    assert sum(damaged.packets for _, damaged in told) == 10
    assert partition.take_damaged() == []


def test_lost_packets_are_a_hole_like_any_other() -> None:
    leg = a_leg()
    feed(leg, *map(arrival, range(50)), *map(arrival, range(55, 100)))
    pcm = sent(leg)

    assert len(pcm) == len(HEARD)
    assert pcm[2 * 50 * FRAME : 2 * 55 * FRAME] == bytes(2 * 5 * FRAME)


def test_of_a_packet_that_overlaps_the_one_before_only_the_end_is_new() -> None:
    decoder = PacketDecoder(RATE)
    packet = arrival(0)
    late = decoder.decode(packet.since(100))

    assert (late.pos, late.samples, late.codec) == (100, 60, "pcm_s16le")
    assert late.audio == whole(1)[200:]


def test_what_comes_in_a_pause_is_not_even_decoded() -> None:
    leg = a_leg()
    feed(leg, *map(arrival, range(50)))
    leg.pause(now=1.0)
    feed(leg, *map(arrival, range(50, 100)))

    assert sent(leg) == whole(50)


def test_a_call_takes_opus_from_its_start_record() -> None:
    partition = a_partition()
    partition.handle(
        in_call(LegStart("customer", ORIGIN_TS, "opus", 8000, start().info)), 0, record_ms=0, now=0.0
    )
    for index, packet in enumerate(PACKETS[:20]):
        frame = AudioFrame("customer", index * FRAME, index, ORIGIN_TS + 20 * index, packet)
        partition.handle(in_call(frame), index + 1, record_ms=20 * index, now=0.02 * index)
    pcm = b"".join(action.pcm for _, action in partition.take_actions() if isinstance(action, Append))

    assert pcm == whole(20)


def test_a_frame_that_is_no_packet_is_poison() -> None:
    partition = a_partition()
    frame = AudioFrame("customer", 0, 0, ORIGIN_TS, b"OggS", "opus")
    with pytest.raises(ContractViolation) as caught:
        partition.handle(in_call(frame), 0, record_ms=0, now=0.0)

    assert caught.value.reason == Reason.BAD_OPUS_PACKET


@pytest.mark.parametrize("frame_ms", [20, 40, 60, 100, 120])
def test_frames_of_any_length_fit_together(frame_ms: int) -> None:
    packets = encode_opus(syllables(1.2, 16_000), 16_000, frame_ms=frame_ms)
    leg = Leg(codec="opus", rate=16_000)
    ends = itertools.accumulate((count_samples("opus", packet, 16_000) for packet in packets), initial=0)
    for index, (position, packet) in enumerate(zip(ends, packets, strict=False)):
        samples = count_samples("opus", packet, 16_000)
        leg.accept(Arrival(position, samples, index, index, "opus", packet), now=0.0)
    leg.end("stop", now=5.0)

    assert len(sent(leg)) == 2 * 16_000 * frame_ms * len(packets) // 1000
