"""Rule sets: what changes the hash and what does not, and the set that is shipped."""

from __future__ import annotations

import pytest

from qa_service.rules.errors import RuleFileError
from qa_service.rules.ruleset import default_rule_set, load_rule_set

PLAIN = """\
version: 1
rules:
  - id: quiet
    version: 1
    severity: medium
    description: Nobody speaks.
    when: {silence: {of: call, longer_than: 10s}}
"""


def test_blanks_comments_quotes_key_order_and_written_defaults_do_not_change_the_hash() -> None:
    same = """\
# A comment.
rules:
- {version: 1, 'id': "quiet", when: {silence: {longer_than: 10000ms, of: call}}, severity: medium,
   audience: supervisor, incident: {close_after: 0s}, description:   Nobody speaks.}
version: 1
"""

    assert load_rule_set(PLAIN, "a.yaml").hash == load_rule_set(same, "b.yaml").hash


@pytest.mark.parametrize(
    ("old", "new"),
    [("version: 1\n    sev", "version: 2\n    sev"), ("medium", "high"), ("10s", "11s"), ("quiet", "still"),
     ("Nobody", "No one"), ("of: call", "of: agent")],
)  # fmt: skip
def test_any_change_of_meaning_changes_the_hash(old: str, new: str) -> None:
    assert old in PLAIN

    assert load_rule_set(PLAIN, "a.yaml").hash != load_rule_set(PLAIN.replace(old, new), "a.yaml").hash


def test_the_hash_of_a_rule_set_never_changes_between_releases() -> None:
    # Stored calls are pinned to it: if this fails, keep the canonical form and not this number.
    expected = "ae41a0bbf87f8fe1df7b206c10c290ccaccb0a31b0a19ed4c5f0d41c216baab3"

    assert expected == load_rule_set(PLAIN, "a.yaml").hash


def test_the_source_is_kept_to_be_stored() -> None:
    assert load_rule_set(PLAIN, "a.yaml").source == PLAIN


def test_the_shipped_rule_set_holds_the_first_rules() -> None:
    expected = [
        "angry-customer",
        "cancellation-request",
        "recording-notice",
        "forbidden-promise",
        "agent-conduct",
        "dead-air",
    ]

    assert expected == [rule.id for rule in default_rule_set().rules]


def test_the_shipped_rule_set_compiles_again_from_its_own_source() -> None:
    rules = default_rule_set()

    assert rules.hash == load_rule_set(rules.source, "stored").hash


def test_a_malformed_file_is_refused_whole() -> None:
    with pytest.raises(RuleFileError, match=r"^new\.yaml:5:15: "):
        load_rule_set(PLAIN.replace("medium", "average"), "new.yaml")
