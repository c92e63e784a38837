"""The one list of metrics of all parts: what is counted, in which unit, and what it tells an operator.

Names begin with ``qa_`` and end in their unit; the asr-server's begin with ``qa_server_``, the relay's with
``qa_relay_``. A labelled metric is a :class:`Family`, a mapping from label value to child, so that using
one costs a dictionary look-up: ``GAPS["paused"].inc()``. On the audio path, count once per batch.

The table in the documentation is made from :func:`describe`, so every metric must be declared here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector

from qa_service.domain.entries import GapReason, RedactionKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REGISTRY = CollectorRegistry()
"""What ``/metrics`` exposes: the list below and the figures of the process itself."""

ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)
_declared: list[Counter | Gauge | Histogram] = []

# Seconds. Finals come 0.2 s (short silence, idle machine) to 30 s (missing-final time-out) after speech.
_FINAL_BUCKETS = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0)
# Seconds. A commit takes 0.4 ms when all is well; the upper end is a database in trouble.
_WRITE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# Seconds of one recognition: a final takes a few tenths on an idle core.
_RECOGNITION_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
# Seconds from connecting to a configured session.
_OPEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Family(dict[str | tuple[str, ...], _Metric], Generic[_Metric]):
    """The children of a labelled metric by label value (a tuple where there are several labels)."""

    def __init__(self, metric: _Metric, known: Iterable[str] = ()) -> None:
        """Children for the ``known`` values exist, and are exposed as zero, from the start."""
        super().__init__()
        self._metric: _Metric = metric
        for value in known:
            self[value]

    def __missing__(self, key: str | tuple[str, ...]) -> _Metric:
        values = (key,) if isinstance(key, str) else key
        child = self._metric.labels(*values)
        self[key] = child
        return child

    def forget(self, key: str | tuple[str, ...]) -> None:
        """Expose the child no longer, e.g. of a partition that now belongs to another worker."""
        if self.pop(key, None) is not None:
            self._metric.remove(*((key,) if isinstance(key, str) else key))


def _counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
    return _declare(Counter(name, text, labels, registry=REGISTRY))


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    return _declare(Gauge(name, text, labels, registry=REGISTRY))


def _histogram(name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
    return _declare(Histogram(name, text, labels, buckets=buckets, registry=REGISTRY))


def _declare(metric: _Metric) -> _Metric:
    _declared.append(metric)
    return metric


# --- All long-running parts ---------------------------------------------------------------------------

EVENT_LOOP_LAG = _histogram(
    "qa_event_loop_lag_seconds",
    "How much later than asked the event loop wakes a sleeper; above 0.1 s something blocks it.",
    (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)

# --- Worker: rules ------------------------------------------------------------------------------------

RULE_SETS_REFUSED = _counter(
    "qa_rule_sets_refused",
    "Published rule sets that this worker could not read; the one before stays in force.",
)

# --- Worker: records in -------------------------------------------------------------------------------

RECORDS = Family(
    _counter("qa_records", "Records read from the audio topic, by their type.", ["type"]),
    ("start", "update", "audio", "pause", "resume", "stop", "call_end"),
)
FRAMES_REPEATED = _counter("qa_frames_repeated", "Frames that came again or too late and were left out.")
PACKETS_DAMAGED = _counter(
    "qa_opus_packets_damaged",
    "Opus packets that could not be decoded, so that a guess was sent in their place; a wrong bit inside a "
    "packet is mostly decoded as a noise and not noticed.",
)
POISON = Family(
    _counter(
        "qa_poison_records",
        "Records that could not be decoded and went to the dead-letter topic.",
        ["reason"],
    )
)
PARTITIONS_OWNED = _gauge("qa_partitions_owned", "Partitions of the audio topic that this worker owns.")
PARTITIONS_PAUSED = Family(
    _gauge(
        "qa_partitions_paused",
        "Partitions this worker owns and does not read, by why: unreadable records, an unknown contract "
        "version, a database or dead-letter topic that does not answer, a recogniser that cannot follow, "
        "or as many legs as the worker may hold.",
        ["reason"],
    ),
    ("poison", "version", "database", "dead_letters", "recogniser", "capacity"),
)
PARTITION_LAG = Family(
    _gauge(
        "qa_partition_lag_records",
        "Records of a partition that wait to be read; what autoscaling should look at.",
        ["partition"],
    )
)
REBALANCES = _counter("qa_rebalances", "Assignments of partitions that this worker was given.")
CONSUMER_STANDSTILLS = _counter(
    "qa_consumer_standstills",
    "Times at which reading stood still although the brokers answered others; if it lasts, the worker ends.",
)
EPOCH_FENCINGS = _counter(
    "qa_epoch_fencings", "Writes refused because another worker had claimed the partition since."
)

# --- Worker: calls and recogniser sessions ------------------------------------------------------------

LEGS_LIVE = _gauge("qa_legs_live", "Legs in progress on this worker; QA_MAX_LEGS is the limit.")
SESSIONS_LIVE = _gauge("qa_sessions_live", "Recogniser sessions that are configured and usable.")
SESSIONS_OPENED = _counter("qa_sessions_opened", "Recogniser sessions that came to be usable.")
SESSIONS_LOST = Family(
    _counter("qa_sessions_lost", "Recogniser sessions that ended other than we asked, by why.", ["reason"])
)
LEG_STATES = Family(
    _counter(
        "qa_leg_states",
        "New sessions of a leg that were given what an earlier one had learnt of it, by whether the "
        "recogniser took it. Refused ones judge the speaker from scratch.",
        ["result"],
    ),
    ("taken", "refused"),
)
SESSION_OPEN = _histogram(
    "qa_session_open_seconds", "From connecting to the recogniser to a configured session.", _OPEN_BUCKETS
)
SESSIONS_WAITING = _gauge("qa_sessions_waiting", "Sessions held back by the limit of new sessions a second.")
AUDIO_SENT = _counter("qa_audio_sent_seconds", "Seconds of audio sent to the recogniser, repeats included.")
FINAL_LATENCY = _histogram(
    "qa_final_latency_seconds",
    "From the end of an utterance, by the capture times of its call, to its final result; holds the silence "
    "that ends an utterance, and any lag.",
    _FINAL_BUCKETS,
)
UTTERANCES = _counter("qa_utterances", "Utterances released to the call log.")
GAPS = Family(
    _counter("qa_gaps", "Stretches that nobody transcribed, by why.", ["reason"]), get_args(GapReason)
)
GAP_SECONDS = Family(
    _counter("qa_gap_seconds", "Length of the stretches that nobody transcribed, by why.", ["reason"]),
    get_args(GapReason),
)
REDACTIONS = Family(
    _counter("qa_redactions", "Numbers taken out of texts before they were stored, by kind.", ["kind"]),
    get_args(RedactionKind),
)
ALERTS = Family(
    _counter("qa_alerts", "Changes of incidents, by rule and new state.", ["rule", "state"]),
)
PARTIALS_PUBLISHED = _counter("qa_partials_published", "Partial results handed to Kafka.")
PARTIALS_DROPPED = _counter(
    "qa_partials_dropped", "Partial results left out because a newer one came first or Kafka was slow."
)

# --- Worker: writes -----------------------------------------------------------------------------------

BATCHES_WRITTEN = _counter("qa_batches_written", "Transactions written to PostgreSQL.")
ENTRIES_WRITTEN = _counter("qa_entries_written", "Call-log entries written to PostgreSQL.")
BATCH_WRITE = _histogram("qa_batch_write_seconds", "Time of one write transaction.", _WRITE_BUCKETS)
WRITE_FAILURES = Family(
    _counter("qa_write_failures", "Write transactions that failed, by why; each is tried again.", ["reason"])
)

# --- Relay --------------------------------------------------------------------------------------------

RELAY_PUBLISHED = Family(
    _counter("qa_relay_published", "Events acknowledged by Kafka, by topic.", ["topic"]),
)
RELAY_FAILURES = Family(
    _counter("qa_relay_failures", "Events that Kafka did not take and that are tried again.", ["topic"]),
)
RELAY_BATCH = _histogram(
    "qa_relay_batch_seconds", "From taking rows out of the outbox to their deletion.", _WRITE_BUCKETS
)
RELAY_OUTBOX_AGE = _gauge(
    "qa_relay_outbox_age_seconds",
    "Age of the oldest event seen in the outbox at the last look; 0 when empty.",
)

# --- Own ASR server -----------------------------------------------------------------------------------

SERVER_SESSIONS_LIVE = _gauge("qa_server_sessions_live", "Sessions connected at present.")
SERVER_SESSIONS = _counter("qa_server_sessions", "Sessions accepted since the start.")
SERVER_SESSIONS_REFUSED = Family(
    _counter("qa_server_sessions_refused", "Handshakes refused, by why.", ["reason"]),
    (
        "unauthorised",
        "no_certificate",
        "unknown_model",
        "overloaded",
        "saturated",
        "too_fast",
        "shutting_down",
        "not_a_websocket",
    ),
)
SERVER_AUDIO = _counter("qa_server_audio_seconds", "Seconds of audio received.")
SERVER_RECOGNITIONS = Family(
    _counter("qa_server_recognitions", "Recognitions done, by kind.", ["kind"]), ("partial", "final")
)
SERVER_RECOGNITION = Family(
    _histogram(
        "qa_server_recognition_seconds", "Time of one recognition, by kind.", _RECOGNITION_BUCKETS, ["kind"]
    ),
    ("partial", "final"),
)
SERVER_RECOGNITION_WAIT = Family(
    _histogram(
        "qa_server_recognition_wait_seconds",
        "How long a recognition waited for a free thread, by kind.",
        _RECOGNITION_BUCKETS,
        ["kind"],
    ),
    ("partial", "final"),
)
SERVER_RECOGNITION_FAILURES = _counter(
    "qa_server_recognition_failures", "Recognitions that ended with an error; their turn got a failed event."
)
SERVER_LEG_STATES = Family(
    _counter(
        "qa_server_leg_states",
        "States of a leg that clients gave to a new session, by what became of them: taken, or why not.",
        ["result"],
    ),
    ("taken", "too_late", "too_long", "malformed", "other_version", "other_model"),
)
SERVER_EMOTION_MEMORY_FAILURES = Family(
    _counter(
        "qa_server_emotion_memory_failures",
        "Failures to read or write what the emotion model has learnt of the service, by why: a damaged file, "
        "or a folder that is not accessible. Until one succeeds it is kept in memory alone.",
        ["reason"],
    ),
    ("damaged", "not_accessible"),
)
SERVER_QUEUE_LENGTH = _gauge("qa_server_queue_length_recognitions", "Recognitions that wait for a thread.")
SERVER_FINAL_DELAY = _gauge(
    "qa_server_final_delay_seconds", "How late a final asked for now is expected to be begun."
)
SERVER_PARTIAL_INTERVAL = _gauge(
    "qa_server_partial_interval_seconds",
    "Time between two looks at an utterance, as the load allows; 0 while there is no time for any.",
)
SERVER_PARTIALS_DROPPED = _counter(
    "qa_server_partials_dropped", "Partial recognitions given up so that finals are not late."
)
SERVER_FINAL_EXCESS = _histogram(
    "qa_server_final_excess_seconds",
    "From the end of the configured silence to the final result: what recognition itself costs the listener.",
    _FINAL_BUCKETS,
)


class MetricRow(NamedTuple):
    """One line of the table of metrics in the documentation."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def describe() -> list[MetricRow]:
    """All metrics in order of declaration, named as they are exposed."""
    return [_describe_one(metric) for metric in _declared]


def _describe_one(metric: Counter | Gauge | Histogram) -> MetricRow:
    family = next(iter(metric.describe()))
    name = f"{family.name}_total" if family.type == "counter" else family.name
    # The client library keeps the label names private and offers no other way to them.
    return MetricRow(name, family.type, tuple(metric._labelnames), family.documentation)  # noqa: SLF001
