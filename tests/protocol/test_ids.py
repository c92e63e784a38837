from __future__ import annotations

from hypothesis import given, strategies as st

from qa_service.protocol.ids import server_id


@given(st.integers(min_value=0))
def test_an_id_is_its_prefix_and_21_letters_or_digits(entropy):
    """Section 1.5: the shape of the real service's ids."""
    prefix, _, tail = server_id("item", entropy).partition("_")

    assert (prefix, len(tail)) == ("item", 21)
    assert tail.isascii()
    assert tail.isalnum()


@given(st.sets(st.integers(min_value=0, max_value=2**125 - 1), max_size=20))
def test_different_entropy_gives_different_ids(numbers):
    """Section 1.5: ids are unique."""
    assert len(numbers) == len({server_id("event", number) for number in numbers})
