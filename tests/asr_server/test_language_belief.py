from __future__ import annotations

from qa_service.asr_server.language_belief import LanguageBelief, apply_prior

SURELY_GERMAN = {"de": 0.97, "en": 0.03}


def test_without_a_past_the_detection_decides() -> None:
    assert apply_prior({"de": 0.4, "en": 0.6}, LanguageBelief().prior, 1.0) == "en"


def test_the_past_steadies_a_doubtful_detection() -> None:
    belief = LanguageBelief()
    belief.observe(SURELY_GERMAN, duration_s=4.0)

    assert apply_prior({"de": 0.3, "nl": 0.5, "en": 0.2}, belief.prior, 3.0) == "de"


def test_a_clear_change_of_language_wins_over_any_past() -> None:
    belief = LanguageBelief()
    for _ in range(100):
        belief.observe(SURELY_GERMAN, duration_s=10.0)

    assert apply_prior({"de": 0.005, "en": 0.005, "fr": 0.99}, belief.prior, 3.0) == "fr"


def test_a_short_utterance_counts_less_than_a_long_one() -> None:
    belief = LanguageBelief()
    belief.observe({"en": 1.0}, duration_s=0.3)
    belief.observe({"de": 1.0}, duration_s=3.0)

    assert belief.prior["de"] > 5 * belief.prior["en"]


def test_a_short_utterance_hardly_changes_what_is_believed() -> None:
    belief = LanguageBelief()
    belief.observe(SURELY_GERMAN, duration_s=4.0)
    one_word = {"de": 0.01, "pt": 0.99}

    assert apply_prior(one_word, belief.prior, duration_s=0.8) == "de"
    assert apply_prior(one_word, belief.prior, duration_s=4.0) == "pt"
