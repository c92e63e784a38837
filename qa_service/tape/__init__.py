"""A call's records as one file, to be read again where there is no Kafka: recorded, and played offline.

:mod:`.tapes` is the file, :mod:`.recording` fills it from a topic, :mod:`.playing` sends it through the
worker's own core, sessions and writer into a store in memory, :mod:`.comparing` says how two outcomes differ.
"""
