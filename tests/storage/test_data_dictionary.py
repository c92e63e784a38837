"""The data dictionary in the docs says what the database says."""

from __future__ import annotations

import pytest

from tools.docs import data_dictionary


@pytest.mark.postgres
async def test_the_committed_data_dictionary_is_current(database_url):
    text = await data_dictionary.render(database_url)

    assert data_dictionary.TARGET.read_text(encoding="utf-8") == text, "run tools/docs/data_dictionary.py"
