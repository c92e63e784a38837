"""PostgreSQL: the call log, incidents, the outbox and who owns which partition.

Decided here: what is one transaction (:mod:`~qa_service.storage.store`), how an unknown outcome is
settled and what is tried again (:mod:`~qa_service.storage.database`), how log entries become rows
(:mod:`~qa_service.storage.rows`), how the relay takes events out
(:mod:`~qa_service.storage.outbox`) and how the schema is brought up to date
(:mod:`~qa_service.storage.migrate`).
"""
