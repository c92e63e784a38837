from __future__ import annotations

from hypothesis import given, strategies as st

from qa_service.asr_server.agreement import continued, units
from qa_service.asr_server.engines import Word
from qa_service.asr_server.engines.word_times import words_of


def test_a_word_begins_where_the_first_token_does_that_reaches_into_it() -> None:
    # Tokens "The", " mov", "able", " type", which begin at 0, 0.4, 0.7 and 1 s.
    words = words_of("The movable type", "The movable type", [3, 7, 11, 16], {0: 0, 1: 20, 2: 35, 3: 50})

    assert words == (Word(index=0, start_s=0.0), Word(index=3, start_s=0.4), Word(index=11, start_s=1.0))


def test_only_words_that_were_heard_have_a_time() -> None:
    words = words_of("A tram to Leeds", "The train to Leeds", [3, 9, 12, 18], {0: 0, 1: 10, 2: 20, 3: 30})

    assert words == (Word(index=6, start_s=0.4), Word(index=9, start_s=0.6))


def test_a_character_of_several_tokens_begins_with_the_one_that_completes_it() -> None:
    assert words_of("你好", "你好", [0, 1, 2], {0: 0, 1: 5, 2: 10}) == (
        Word(index=0, start_s=0.1),
        Word(index=1, start_s=0.2),
    )


def test_times_end_where_a_token_has_none() -> None:
    assert words_of("a b c", "a b c", [1, 3, 5], {2: 7}) == (Word(index=3, start_s=0.14),)
    assert words_of("a b c", "a b c", [1, 3], {0: 1, 1: 2}) == ()


texts = st.lists(st.sampled_from(["please", "enter", "你", "a", "new", "pin."]), max_size=8).map(" ".join)


@given(prefix=texts, heard=texts, lengths=st.lists(st.integers(1, 5), max_size=40))
def test_every_index_is_the_beginning_of_a_word_and_times_do_not_go_back(
    prefix: str, heard: str, lengths: list[int]
) -> None:
    text = continued(prefix, heard)
    ends = [sum(lengths[: count + 1]) for count in range(len(lengths))]
    words = words_of(text, heard, ends, {number: number for number in range(len(lengths))})

    starts = [len("".join(units(text)[:count])) for count in range(len(units(text)))]
    indices = [word.index for word in words]
    assert indices == starts[len(starts) - len(words) :]
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)
