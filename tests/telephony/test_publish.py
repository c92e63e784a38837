"""Recordings as live calls: gapless, on time, and encoded as the platform would."""

from __future__ import annotations

import asyncio
import math
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given, strategies as st

from qa_service.audio.g711 import decode_alaw, decode_ulaw
from qa_service.audio.opus import OpusDecoder
from qa_service.contract import (
    AudioFrame,
    CallEnd,
    LegInfo,
    LegStart,
    LegStop,
    count_samples,
    decode_record,
)
from qa_service.domain.actions import Append
from qa_service.kafka import KafkaConfig, make_consumer
from qa_service.telephony.publish import (
    CallAudio,
    LegAudio,
    UnplayableFile,
    plan_call,
    publish_calls,
    publish_files,
    read_call,
)
from tests.domain.builders import a_partition

CUSTOMER = LegInfo(role="customer")
AGENT = LegInfo(role="agent", agent_id="a-17")


class Recorder:
    """Stands where a Publisher does and keeps what it is given, with the time of it."""

    def __init__(self):
        self.sent = []
        self.flushed = False

    async def send(self, call_id, record):
        self.sent.append((time.monotonic(), call_id, record))

    async def flush(self):
        self.flushed = True


def call_of(*samples: int, call_id: str = "call-1", rate: int = 8000) -> CallAudio:
    infos = [("customer", CUSTOMER), ("agent", AGENT)]
    return CallAudio(
        call_id=call_id,
        legs=tuple(
            LegAudio(leg=leg, info=info, audio=b"\x7f" * length, rate=rate)
            for (leg, info), length in zip(infos, samples, strict=False)
        ),
    )


leg_audio = st.one_of(
    st.tuples(st.sampled_from(["pcmu", "pcma"]), st.binary(max_size=2000)),
    st.tuples(st.just("pcm_s16le"), st.binary(max_size=1000).map(lambda audio: audio * 2)),
)


@given(
    st.lists(leg_audio, min_size=1, max_size=3),
    st.sampled_from([8000, 16_000]),
    st.sampled_from([10, 20, 30, 60, 200]),
    st.integers(0, 2**41),
)
def test_a_plan_holds_every_sample_once_without_gaps_in_positions_or_numbers(legs, rate, frame_ms, start_ts):
    call = CallAudio(
        call_id="call-1",
        legs=tuple(
            LegAudio(leg=f"leg-{n}", info=CUSTOMER, audio=audio, codec=codec, rate=rate)
            for n, (codec, audio) in enumerate(legs)
        ),
    )
    plan = list(plan_call(call, start_ts=start_ts, frame_ms=frame_ms))
    samples = rate * frame_ms // 1000

    assert [due.at_ms for due in plan] == sorted(due.at_ms for due in plan)
    assert isinstance(plan[-1].record, CallEnd)
    for leg in call.legs:
        begin, *frames, end = [due for due in plan[:-1] if due.record.leg == leg.leg]
        heard = b"".join(due.record.audio for due in frames)
        assert isinstance(begin.record, LegStart)
        assert isinstance(end.record, LegStop)
        assert [due.record.seq for due in frames] == list(range(len(frames)))
        assert [due.record.pos for due in frames] == [n * samples for n in range(len(frames))]
        assert {count_samples(leg.codec, due.record.audio) for due in frames} <= {samples}
        assert heard[: len(leg.audio)] == leg.audio
        assert len(heard) - len(leg.audio) < samples * 2
        for due in frames:
            spoken_ms = (due.record.pos + samples) * 1000 / rate
            assert due.at_ms == spoken_ms
            assert due.record.ts == start_ts + due.record.pos * 1000 // rate


def test_the_last_frame_is_filled_up_with_silence():
    *_, frame, _, _ = (due.record for due in plan_call(call_of(170), start_ts=0))

    assert decode_ulaw(frame.audio).tolist() == decode_ulaw(b"\x7f" * 10).tolist() + [0] * 150


def test_legs_of_a_call_take_turns_and_the_call_ends_with_the_longer_one():
    plan = [(due.at_ms, due.record) for due in plan_call(call_of(320, 160), start_ts=1000)]

    assert [(at, type(record)) for at, record in plan] == [
        (0, LegStart),
        (0, LegStart),
        (20, AudioFrame),
        (20, AudioFrame),
        (20, LegStop),
        (40, AudioFrame),
        (40, LegStop),
        (40, CallEnd),
    ]
    assert plan[-1][1] == CallEnd(1040)


def stereo(tmp_path, *, rate: int = 8000, seconds: float = 0.5, name: str = "call.wav"):
    t = np.arange(int(rate * seconds)) / rate
    samples = np.stack([0.5 * np.sin(2 * np.pi * 500 * t), 0.25 * np.sin(2 * np.pi * 1000 * t)], axis=1)
    path = tmp_path / name
    soundfile.write(path, samples, rate)
    return path


def loudest_hz(leg: LegAudio) -> float:
    decode = {"pcmu": decode_ulaw, "pcma": decode_alaw, "pcm_s16le": lambda a: np.frombuffer(a, "<i2")}
    samples = decode[leg.codec](leg.audio)
    return np.argmax(np.abs(np.fft.rfft(samples))) * leg.rate / len(samples)


@pytest.mark.parametrize("codec", ["pcmu", "pcma", "pcm_s16le"])
@pytest.mark.parametrize("name", ["call.wav", "call.flac"])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_stereo_file_is_customer_left_and_agent_right_at_the_platform_s_rate(tmp_path, name, rate, codec):
    call = read_call(stereo(tmp_path, rate=rate, name=name), call_id="c", codec=codec)

    assert [(leg.leg, leg.info.role, leg.rate) for leg in call.legs] == [
        ("customer", "customer", 8000),
        ("agent", "agent", 8000),
    ]
    assert [round(loudest_hz(leg), -1) for leg in call.legs] == [500, 1000]
    assert call.duration_ms == pytest.approx(500, abs=2)


def test_legs_can_be_swapped(tmp_path):
    call = read_call(stereo(tmp_path), call_id="c", swap_legs=True)

    assert [(leg.leg, round(loudest_hz(leg), -1)) for leg in call.legs] == [
        ("agent", 500),
        ("customer", 1000),
    ]


def test_a_mono_file_is_one_leg(tmp_path):
    path = tmp_path / "mono.wav"
    soundfile.write(path, np.zeros(800), 8000)
    call = read_call(path, call_id="c", mono_leg="agent", infos={"agent": AGENT})

    assert [(leg.leg, leg.info, leg.duration_ms) for leg in call.legs] == [("agent", AGENT, 100)]


@pytest.mark.parametrize(("suffix", "bytes_a_sample"), [(".ulaw", 1), (".alaw", 1), (".raw", 2), (".pcm", 2)])
def test_a_headerless_file_is_told_by_its_name(tmp_path, suffix, bytes_a_sample):
    path = tmp_path / f"leg{suffix}"
    path.write_bytes(bytes(8000 * bytes_a_sample))

    assert read_call(path, call_id="c").duration_ms == 1000


def test_a_mu_law_file_is_played_bit_by_bit(tmp_path):
    # 0x7f and 0xff are the two zeros of µ-law; an encoder knows one of them.
    codes = bytes(code for code in range(256) if code != 0x7F)
    path = tmp_path / "leg.ulaw"
    path.write_bytes(codes)

    assert read_call(path, call_id="c").legs[0].audio == codes


@pytest.mark.parametrize(
    ("channels", "samples", "words"),
    [(3, 80, "3 channels: split it"), (1, 0, "holds no audio: leave it out")],
)
def test_a_file_that_is_no_call_is_refused_in_one_line(tmp_path, channels, samples, words):
    path = tmp_path / "odd.wav"
    soundfile.write(path, np.zeros((samples, channels)), 8000)
    with pytest.raises(UnplayableFile, match=words):
        read_call(path, call_id="c")


@pytest.mark.parametrize("content", [b"not audio at all", None])
def test_a_file_that_cannot_be_read_is_named_with_the_remedy(tmp_path, content):
    path = tmp_path / "call.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnplayableFile, match=r"call\.wav.*give a WAV or FLAC") as caught:
        read_call(path, call_id="c")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [8000, 16_000])
@pytest.mark.parametrize("frame_ms", [20, 60])
def test_opus_is_sent_as_a_packet_a_frame_and_heard_in_its_place(tmp_path, rate, frame_ms):
    call = read_call(stereo(tmp_path, seconds=0.6), call_id="c", codec="opus", rate=rate)
    plan = [due.record for due in plan_call(call, start_ts=0, frame_ms=frame_ms)]
    for leg, pitch in [("customer", 500), ("agent", 1000)]:
        start, *frames, _ = (record for record in plan[:-1] if record.leg == leg)
        decoder = OpusDecoder(rate)
        heard = np.frombuffer(b"".join(decoder.decode(frame.audio) for frame in frames), "<i2")
        assert (start.codec, start.rate) == ("opus", rate)
        assert [frame.pos for frame in frames] == list(range(0, 600 * rate // 1000, frame_ms * rate // 1000))
        assert round(np.argmax(np.abs(np.fft.rfft(heard))) * rate / len(heard), -1) == pitch
    assert call.duration_ms == 600


def test_a_packet_of_opus_cannot_be_of_any_length(tmp_path):
    call = read_call(stereo(tmp_path), call_id="c", codec="opus")
    with pytest.raises(ValueError, match="no Opus packet holds 30 ms: use one of"):
        list(plan_call(call, start_ts=0, frame_ms=30))


def test_foreign_rates_cannot_be_played(tmp_path):
    with pytest.raises(ValueError, match="44100"):
        read_call(stereo(tmp_path), call_id="c", rate=44_100)


async def test_frames_keep_to_the_schedule_however_many_calls_there_are():
    recorder = Recorder()
    calls = [call_of(4000, 4000, call_id=f"call-{n}") for n in range(5)]
    report = await publish_calls(calls, publisher=recorder, speed=2.0)

    assert report.records == len(recorder.sent) == 5 * (2 * (25 + 2) + 1)
    assert 0.25 <= report.elapsed_s < 1.0
    assert [call.call_id for call in report.calls] == [f"call-{n}" for n in range(5)]
    assert recorder.flushed
    first = recorder.sent[0][0]
    frames = [(at, record) for at, _, record in recorder.sent if isinstance(record, AudioFrame)]
    # Never before the audio was spoken; that also rules out a drift to the front.
    assert all(at - first >= (record.pos + 160) / 8000 / 2 - 0.001 for at, record in frames)


async def test_a_later_call_begins_later_on_the_clock_too():
    recorder = Recorder()
    calls = [call_of(800, call_id="a"), call_of(800, call_id="b")]
    report = await publish_calls(calls, publisher=recorder, speed=math.inf, stagger_ms=500)
    started = [call.started_ts for call in report.calls]

    assert started[1] - started[0] == 500
    assert [call_id for _, call_id, _ in recorder.sent] == ["a"] * 8 + ["b"] * 8


async def test_progress_is_told_about_once_a_second_and_at_the_end():
    told = []
    await publish_calls([call_of(20_000)], publisher=Recorder(), speed=math.inf, on_progress=told.append)

    assert [progress.position_ms for progress in told] == [0, 1000, 2000, 2500]
    assert {progress.duration_ms for progress in told} == {2500}


@pytest.mark.parametrize("speed", [0.0, -1.0, math.nan])
async def test_a_speed_that_goes_nowhere_is_refused(speed):
    with pytest.raises(ValueError, match="not above 0"):
        await publish_calls([call_of(160)], publisher=Recorder(), speed=speed)


async def consume(config: KafkaConfig, topic: str, records: int):
    consumer = make_consumer(config, topic, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [await consumer.getone() for _ in range(records)]
    finally:
        await consumer.stop()


@pytest.mark.kafka
async def test_files_arrive_as_calls_of_their_own(kafka_bootstrap, make_topic, tmp_path):
    topic = await make_topic("audio", partitions=2)
    config = KafkaConfig(bootstrap=kafka_bootstrap)
    paths = [stereo(tmp_path, name="one.wav"), stereo(tmp_path, name="two.flac", rate=16_000)]
    report = await publish_files(paths, kafka=config, topic=topic, speed=math.inf, language="en")
    received = await consume(config, topic, report.records)
    decoded = [decode_record(message.key, message.headers, message.value) for message in received]

    assert {call.call_id.rpartition("-")[0] for call in report.calls} == {"one", "two"}
    for call in report.calls:
        records = [record.record for record in decoded if record.call_id == call.call_id]
        assert isinstance(records[-1], CallEnd)
        for leg in call.legs:
            frames = [r for r in records if isinstance(r, AudioFrame) and r.leg == leg]
            assert [frame.seq for frame in frames] == list(range(25))
            assert [frame.pos for frame in frames] == list(range(0, 4000, 160))


@pytest.mark.kafka
async def test_opus_arrives_at_the_worker_s_core_as_the_sound_that_was_played(
    kafka_bootstrap, make_topic, tmp_path
):
    topic = await make_topic("audio")
    config = KafkaConfig(bootstrap=kafka_bootstrap)
    path = stereo(tmp_path, seconds=2.0)
    report = await publish_files([path], kafka=config, topic=topic, codec="opus", rate=16_000, speed=math.inf)
    received = await consume(config, topic, report.records)
    partition = a_partition()
    for message in received:
        content = decode_record(message.key, message.headers, message.value)
        partition.handle(content, message.offset, record_ms=message.timestamp, now=0.0)
    actions = partition.take_actions()

    assert partition.take_damaged() == []
    for leg, pitch in [("customer", 500), ("agent", 1000)]:
        sent = [action.pcm for key, action in actions if key.leg_id == leg and isinstance(action, Append)]
        heard = np.frombuffer(b"".join(sent), "<i2")
        assert len(heard) == 2 * 16_000
        assert round(np.argmax(np.abs(np.fft.rfft(heard))) * 16_000 / len(heard), -1) == pitch


async def test_nothing_is_sent_if_one_file_is_bad(tmp_path):
    config = KafkaConfig(bootstrap="127.0.0.1:1")
    with pytest.raises(UnplayableFile):
        await publish_files([stereo(tmp_path), tmp_path / "absent.wav"], kafka=config, topic="t")
