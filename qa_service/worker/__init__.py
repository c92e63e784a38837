"""The worker: from the audio topic through recogniser sessions to transactions.

A frame's way: :mod:`.consumer` → :mod:`.reading` → contract codec → :class:`~qa_service.domain.leg.Leg` →
:mod:`.sessions` → socket. An utterance's way: socket → :mod:`.owner` → leg, log and rules in the core → one
transaction. Which partitions are read at all: :mod:`.assignments`.
"""
