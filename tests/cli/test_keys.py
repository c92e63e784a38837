from __future__ import annotations

from click.testing import CliRunner

from qa_service.asr_server.keys import KeyRing
from qa_service.cli.keys import keys


def test_a_new_key_comes_with_the_digest_that_lets_it_in():
    result = CliRunner().invoke(keys, ["new"])
    printed = dict(line.split() for line in result.stdout.splitlines())

    assert result.exit_code == 0
    assert KeyRing([printed["digest"]]).find(printed["key"]) is not None


def test_a_key_on_standard_input_is_hashed():
    result = CliRunner().invoke(keys, ["hash"], input="secret\n")

    assert result.stdout == "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n"


def test_no_key_is_told_of():
    result = CliRunner().invoke(keys, ["hash"], input="\n")

    assert result.exit_code == 2
    assert "no key was given" in result.stderr
