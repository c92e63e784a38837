"""The way out: events from the outbox to Kafka, as CloudEvents, in order and never lost.

An alert's journey: a transaction of the worker puts it into the outbox, :mod:`~qa_service.alerts.relay` takes
it out, :mod:`~qa_service.alerts.cloudevents` gives it its form, and the broker's acknowledgement strikes it
off. Partial results do not take that way: :mod:`~qa_service.alerts.partials` sends them as best it can.
"""
