"""The generated reference is current, and its hand-written part, the log events, is complete."""

from __future__ import annotations

from fnmatch import fnmatchcase

from qa_service.log_events import EVENTS
from qa_service.settings import Settings
from tools.docs import reference


def test_the_committed_reference_is_current():
    text = reference.render()

    assert reference.TARGET.read_text(encoding="utf-8") == text, reference.REMEDY


def test_every_event_that_the_package_logs_is_explained():
    unexplained = {
        f"{call.event} in {call.module}"
        for call in reference.find_log_calls()
        if not any(fnmatchcase(event, call.event) for event in EVENTS)
    }

    assert unexplained == set(), "give each a sentence in qa_service/log_events.py"


def test_every_explained_event_is_logged_somewhere():
    logged = [call.event for call in reference.find_log_calls()]

    unused = {event for event in EVENTS if not any(fnmatchcase(event, name) for name in logged)}

    assert unused == set(), "remove them from qa_service/log_events.py"


def test_events_whose_name_or_level_is_chosen_at_run_time_are_found():
    calls = reference.find_log_calls()

    assert {level for call in calls if call.event == "incident_*" for level in call.levels} == {"info"}
    assert {"warning", "error"} <= {
        level for call in calls if call.event == "session_lost" for level in call.levels
    }


def test_every_setting_stands_in_one_section():
    listed = [name for _, names in reference._read_sections() for name in names]

    assert listed == list(Settings.model_fields)
