from __future__ import annotations

from hypothesis import given, strategies as st

from qa_service.asr_server.audio_track import AudioTrack


def counted(milliseconds: int) -> bytes:
    """PCM at 8 kHz in which each sample holds its number."""
    return b"".join((n % 65_536).to_bytes(2, "little") for n in range(milliseconds * 8))


def test_audio_is_read_by_its_time() -> None:
    track = AudioTrack(8000, base_ms=1000)
    track.append(counted(100))

    assert track.read(1010, 1020) == counted(100)[160:320]
    assert track.end_ms == 1100


def test_reading_past_either_end_gives_what_is_there() -> None:
    track = AudioTrack(8000, base_ms=1000)
    track.append(counted(10))

    assert track.read(0, 5000) == counted(10)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.data())
def test_forgetting_changes_nothing_of_what_is_kept(pieces: list[int], data: st.DataObject) -> None:
    whole = counted(sum(pieces))
    track = AudioTrack(8000)
    sent = 0
    forgotten = 0
    for piece in pieces:
        track.append(whole[sent * 16 : (sent + piece) * 16])
        sent += piece
        forgotten = max(forgotten, data.draw(st.integers(0, sent)))
        track.forget_before(forgotten)

        assert track.end_ms == sent
        assert track.read(forgotten, sent) == whole[forgotten * 16 : sent * 16]
