"""The benchmark of the path: what the worker costs and adds, from Kafka to the recogniser and back to Kafka.

Around one real worker stand a load generator, a lean recogniser and, for comparison, a bare loop (*the
floor*) that polls the same topic and sends the same appends with the same client libraries and does nothing
else. Each is a process of its own; worker and floor are pinned to one core, everything else to the others.
"""
