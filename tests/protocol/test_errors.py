from __future__ import annotations

import pytest

from qa_service.protocol.errors import InvalidValue, MalformedMessage, OutOfOrder, ProtocolError


@pytest.mark.parametrize("error", [MalformedMessage, OutOfOrder, InvalidValue])
def test_every_error_of_the_package_is_a_protocol_error(error):
    assert issubclass(error, ProtocolError)


def test_an_invalid_value_names_its_path_and_what_is_wanted():
    """Section 4.12: the message of the example has this form."""
    fault = InvalidValue("session.sample_rate", "must be 8000 or 16000")

    assert str(fault) == "session.sample_rate must be 8000 or 16000."
    assert (fault.param, fault.missing) == ("session.sample_rate", False)
