from __future__ import annotations

import io

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings, strategies as st

from qa_service.audio.opus_stream import OpusStream
from tests.support.opus import PRE_SKIP, encode_opus, likeness, ogg_pages, opus_head, syllables, tone_steps

RATE = 16_000
SOUND = tone_steps(2.0, RATE)
PACKETS = encode_opus(SOUND, RATE)
SPOKEN_PACKETS = encode_opus(syllables(2.0, RATE), RATE)
LIKE_AFTER_LOSS = 0.9  # of what is heard after a loss to what would have been heard without
LIKE = 0.9  # correlation of the sweep with itself after coding


def after_loss(heard: np.ndarray) -> float:
    """How like what was encoded from the 51st packet on is to what was heard of it."""
    undisturbed = hear(OpusStream(RATE), SPOKEN_PACKETS)[51 * 320 :]
    return float(np.corrcoef(undisturbed, heard)[0, 1])


def hear(stream: OpusStream, appends: list[bytes]) -> np.ndarray:
    pcm = b"".join(piece for append in appends for piece in stream.push(append))
    return np.frombuffer(pcm, dtype="<i2")


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def by_libsndfile() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format="OGG", subtype="OPUS")
    return file.getvalue()


def by_ffmpeg() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        track = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(
            np.rint(SOUND * 32767).astype(np.int16).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate = RATE
        container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("size", [1, 3, 4, 333, 1_000_000])
@pytest.mark.parametrize("write", [by_libsndfile, by_ffmpeg])
def test_files_of_common_writers_are_heard_however_appends_cut_them(write, size):
    stream = OpusStream(RATE)
    heard = hear(stream, cut(write(), size))
    strength, late = likeness(SOUND, heard)

    assert strength > LIKE
    # The pre-skip takes the codec's delay away; the filter's millisecond stays.
    assert 0 <= late <= RATE // 1000
    assert len(SOUND) <= len(heard) <= len(SOUND) + RATE * 40 // 1000
    assert stream.fault is None


@pytest.mark.parametrize("frame_ms", [20, 40, 60, 100, 120])
def test_each_append_that_is_no_ogg_is_one_packet(frame_ms):
    stream = OpusStream(RATE)
    packets = encode_opus(SOUND, RATE, frame_ms=frame_ms)
    heard = hear(stream, packets)

    assert len(heard) == len(packets) * RATE * frame_ms // 1000
    assert likeness(SOUND, heard)[0] > LIKE
    assert stream.fault is None


def test_chained_streams_are_heard_one_after_the_other():
    stream = OpusStream(RATE)
    both = b"".join(ogg_pages(PACKETS, serial=1) + ogg_pages(PACKETS, serial=2))
    heard = hear(stream, cut(both, 777))

    assert len(heard) == 2 * (len(PACKETS) * 320 - PRE_SKIP // 3)
    assert stream.fault is None


def test_the_level_that_the_header_asks_for_is_kept():
    quiet = hear(OpusStream(RATE), ogg_pages(PACKETS, head=opus_head(gain=-20 * 256)))
    plain = hear(OpusStream(RATE), ogg_pages(PACKETS))

    assert np.std(quiet) == pytest.approx(np.std(plain) / 10, rel=0.02)


def test_a_long_append_is_given_bit_by_bit():
    pieces = [len(piece) // 2 for piece in OpusStream(RATE).push(b"".join(ogg_pages(PACKETS)))]

    assert max(pieces) <= RATE * 620 // 1000
    assert sum(pieces) == len(PACKETS) * 320 - PRE_SKIP // 3


@pytest.mark.parametrize("damaged", [b"\x83", b"\x4b\x41\xff\xff", b"\x4b\x00"])
def test_a_damaged_packet_keeps_its_place_and_is_told_of(damaged):
    stream = OpusStream(RATE)
    before = hear(stream, SPOKEN_PACKETS[:50])
    filled = hear(stream, [damaged])
    fault = stream.fault
    after = hear(stream, SPOKEN_PACKETS[51:])

    assert (len(before), len(filled), len(after)) == (50 * 320, 320, len(SPOKEN_PACKETS[51:]) * 320)
    assert "Opus packet" in (fault or "")
    assert stream.fault is None
    assert after_loss(after) > LIKE_AFTER_LOSS


def test_lost_pages_keep_their_place():
    stream = OpusStream(RATE)
    pages = ogg_pages(SPOKEN_PACKETS)
    heard = hear(stream, pages[:42] + pages[53:])

    assert len(heard) == len(SPOKEN_PACKETS) * 320 - PRE_SKIP // 3
    assert after_loss(heard[51 * 320 - PRE_SKIP // 3 :]) > LIKE_AFTER_LOSS


def test_what_only_began_like_ogg_is_no_packet_and_costs_nothing_else():
    stream = OpusStream(RATE)
    heard = hear(stream, [b"O", b"gg", PACKETS[0], *PACKETS[1:]])

    assert len(heard) == len(PACKETS) * 320


def test_that_is_told():
    stream = OpusStream(RATE)
    hear(stream, [b"Ogg", PACKETS[0]])

    assert stream.fault == "what came first is no Opus packet"


def test_ogg_may_begin_after_raw_packets():
    stream = OpusStream(RATE)
    heard = hear(stream, [*PACKETS[:5], *ogg_pages(PACKETS)])

    assert len(heard) == (5 + len(PACKETS)) * 320 - PRE_SKIP // 3


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=80), max_size=6), st.booleans())
def test_any_appends_are_survived(appends, as_ogg):
    stream = OpusStream(RATE)
    hear(stream, [*([b"OggS"] if as_ogg else []), *appends])
    heard = hear(stream, ogg_pages(PACKETS[:10]) * 2)

    assert len(heard) >= 10 * 320 - PRE_SKIP // 3


def test_noise_that_looks_like_pages_is_looked_at_bit_by_bit():
    """Each piece is a step on a thread that all sessions share."""
    page = b"OggS\0" + bytes(21) + b"\xff" + b"\xff" * 255
    steps = list(OpusStream(RATE).push(page * 1000))

    assert set(steps) == {b""}
    assert len(steps) >= len(page) * 1000 // 8192
