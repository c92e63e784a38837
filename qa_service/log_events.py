"""The one list of log events of all parts: what each tells an operator, and what to do where that helps.

The table in the documentation is made from it; a test sees to it that every event logged in the package
stands here, and that nothing else does. Level and place are read from the code instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EVENTS: Final[Mapping[str, str]] = {
    # --- Worker -------------------------------------------------------------------------------------
    "worker_started": (
        "The worker has everything it needs; the rule set for new calls and the recogniser it will use."
    ),
    "worker_stopped": "The worker has written what was due and has left the group.",
    "stopped_before_written": "At the end not all was written in time; it is read again.",
    "partitions_assigned": "A rebalance is over: which partitions are ours, and which are not any more.",
    "partition_claimed": "A partition is ours in the database, and is read from `position` on.",
    "partition_fenced": (
        "Another worker has claimed the partition since; our late write was refused. Now and then that is "
        "normal."
    ),
    "partition_let_go": "The group does not know us as the reader of that partition any more.",
    "partition_failed": (
        "Work on a partition failed: a fault of our own, with its traceback, or something for a person, as "
        "`error` says. It is loaded anew after a while."
    ),
    "partition_stood_still": (
        "The recogniser answers and yet covers nothing of a leg; the partition is read on without waiting "
        "for it."
    ),
    "partition_stopped": (
        "The partition is not read any further until a person has acted; see `reason` and `remedy`."
    ),
    "revoked_before_written": (
        "A partition was taken away before all was written; its next owner reads that again."
    ),
    "audio_given_up": (
        "The worker holds as many legs as it may, and audio of this partition has waited for longer than "
        "`QA_MAX_LAG_S`: it becomes gaps of reason `capacity`. Told once each time the partition is held."
    ),
    "offset_out_of_range": (
        "Retention has deleted records that were not read; reading goes on where the log begins."
    ),
    "kafka_unavailable": "Reading does not succeed; told when it begins, and once a minute.",
    "kafka_recovered": "Reading succeeds again.",
    "consumer_stands_still": (
        "Kafka brings nothing to this worker although its brokers answer others; mostly it passes within "
        "seconds."
    ),
    "consumer_stuck": (
        "That did not pass: the worker ends with an error, so that its supervisor starts it anew. Nothing is "
        "lost. If it comes back often, look at the brokers, the group's coordinator for one."
    ),
    "proof_of_membership_failed": "Kafka did not say whether a partition is still ours; asked again.",
    "advisory_commit_failed": "Offsets for dashboards were not committed; normal during a rebalance.",
    "call_on_other_partition": (
        "Records of a call arrive on two partitions: its producers partition by different functions of the "
        "key. The partition that stored it first goes on with it; what comes on this one is put on the "
        "dead-letter topic. Told once a call."
    ),
    "record_refused": "A record could not be used and went to the dead-letter topic.",
    "tape_record_refused": "A record on a tape could not be used; on its topic it went to the dead letters.",
    "dead_letters_unavailable": (
        "The dead-letter topic does not take records, perhaps because it does not exist; partitions with "
        "such records wait."
    ),
    "dead_letters_recovered": "The dead-letter topic takes records again.",
    "call_started": "A call's first record was stored.",
    "call_ended": "All legs of a call have ended and are stored.",
    "packets_damaged": (
        "Opus packets of a leg cannot be decoded, and a guess stands in their place; told once a leg, and "
        "counted in `qa_opus_packets_damaged_total`. Where there are many, look at the producer: is it "
        "another codec, are packets encrypted, or cut short?"
    ),
    "gap_written": "A stretch of a leg has no transcript, other than by pause or silence of the platform.",
    "incident_opened": "A rule has opened an incident; it is stored.",
    "incident_updated": "An incident has new evidence.",
    "incident_closed": "An incident is over.",
    "incident_withdrawn": "An incident turned out not to hold.",
    "rule_set_changed": "A newer rule set was published; calls that begin now are pinned to it, no others.",
    "rule_set_refused": (
        "A published rule set cannot be read, so the one before stays in force for new calls. Publish a "
        "corrected one; `qa-service rules check` names each mistake."
    ),
    "rule_set_not_looked_up": (
        "The database did not say whether a newer rule set was published; it is asked again."
    ),
    "figures_not_stored": (
        "What reports ask of calls that ended could not be stored; reports compute it each time, slowly. "
        "`SELECT qa.store_figures(...)` stores it (docs/operations.md)."
    ),
    "rule_set_missing": (
        "A stored call is pinned to a rule set that is not in the database; it goes on with the present "
        "one. Cannot happen unless rows were deleted by hand."
    ),
    "rule_set_unreadable": (
        "A stored rule set was written for another version of the rule language; its calls go on with the "
        "present one."
    ),
    "session_lost": (
        "A recogniser session ended other than we asked; its audio is replayed into a new one. At level "
        "error, trying again will not help: see `detail`."
    ),
    "session_abandoned": "The worker gave a recogniser session up and replays its audio; see `reason`.",
    "session_failed": "A fault of our own in a session, with its traceback; please report it.",
    "partials_not_published": (
        "Kafka does not take partial results; they are dropped. At most one line a minute."
    ),
    # --- Database -----------------------------------------------------------------------------------
    "database_retried": "A failure that may pass by itself; tried again for 10 s before it is reported.",
    "store_unavailable": (
        "The database cannot be reached; told when it begins, and once a minute. Records wait in Kafka."
    ),
    "store_recovered": "The database answers again.",
    "write_refused": "The database answers and refuses a transaction; tried again, and told of now and then.",
    # --- Relay --------------------------------------------------------------------------------------
    "relay_started": "The relay has everything it needs.",
    "relay_stopped": "The relay has ended its last round.",
    "alert_published": "Kafka has acknowledged an alert; `age_ms` after it became durable.",
    "calls_not_published": (
        "Kafka did not take events of some calls in this round; they are tried again, in order."
    ),
    "event_not_published": "One event of those.",
    "event_settled_late": (
        "An event that was given up in an earlier round has been settled, while another relay had it."
    ),
    "outbox_unreachable": "The outbox cannot be read; tried again with growing pauses.",
    "outbox_reached_again": "The outbox can be read again.",
    "outbox_wait_failed": "Waiting for news of the outbox failed; it is looked at after a pause instead.",
    # --- Asr-server ---------------------------------------------------------------------------------
    "asr_server_listening": "The port is open; sessions are refused until the models are loaded.",
    "asr_server_ready": "The models are loaded and have recognised something.",
    "model_fetching": "How the fetching of a model file goes.",
    "model_not_verified": (
        "The model of QA_SERVER_MODEL_PATH is not one we know, and its folder holds no `SHA256SUMS` to check "
        "it by."
    ),
    "engine_ignored": "An installed package offers an engine under the name of one of the server's own.",
    "fault_refused_handshake": "A handshake was refused because the fault file says so.",
    "fault_ended_connection": "A connection was dropped or closed (`code`) because the fault file says so.",
    "server_keys_changed": "The key file was read again; the ids of keys `added` and `removed`.",
    "server_keys_unreadable": (
        "The key file has changed and cannot be read, or not in full; the keys stay as they were."
    ),
    "server_certificate_renewed": "New connections are served with renewed TLS files.",
    "server_certificate_unusable": (
        "TLS files have changed and cannot be used together; the server goes on with those it has."
    ),
    "session_opened": "A client has a session; `key_id` is the beginning of its key's digest.",
    "session_closed": "A session has ended.",
    "emotion_memory_loaded": "What an earlier server has learnt of the service's voices was taken up.",
    "emotion_memory_of_other_weights": (
        "What was learnt by other weights of the emotion model is of no use; the service is learnt anew."
    ),
    "emotion_memory_damaged": (
        "The file of what was learnt of the service's voices cannot be understood; it was set aside and the "
        "service is learnt anew."
    ),
    "emotion_memory_failed": (
        "What was learnt of the service's voices cannot be read or written; check QA_SERVER_STATE_DIR. Told "
        "once until it succeeds again."
    ),
    "leg_state_not_taken": (
        "The recogniser cannot go on from what it had learnt of a leg, as `reason` says: another server, or "
        "other weights. Emotions of the rest of the leg are judged from scratch."
    ),
    "leg_state_refused": (
        "A client gave a leg state that is of no use here, as `reason` says; the session began without a "
        "past. Normal after other weights or another version were deployed."
    ),
    "partials_suspended": (
        "Finals take so much of the recognition threads that no time is left for partials; finals still come."
    ),
    "partials_resumed": "There is time for partials again.",
    "sessions_refused_by_load": (
        "Finals are late by more than QA_SERVER_MAX_FINAL_DELAY_S, or take most of the threads' time; new "
        "sessions get 429 until there is room. If it is often so, give the server more cores or more servers."
    ),
    "sessions_admitted_again": "There is room for new sessions again.",
    "look_failed": "An intermediate recognition failed; the final will tell.",
    "recognition_failed": "A final recognition failed; the client was told so for this utterance.",
    # --- All ----------------------------------------------------------------------------------------
    "kafka_unreachable": "No broker answers at start; tried again for `trying_for_s` seconds.",
    "kafka_client_not_stopped": "A Kafka client did not stop in time and was left to itself.",
    "kafka_client_close_failed": "A Kafka client that never started could not be closed cleanly.",
    "topic_unsuitable": "The audio topic is missing, or set up so that calls would be lost; see `finding`.",
    "topic_settings_unknown": "The broker does not tell how a topic is set up, so it was not checked.",
    "readiness_check_failed": "A readiness check raised an error and counts as failed.",
}
