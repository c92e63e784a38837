"""Deterministic simulation: the worker in a world of memory, under a virtual clock, broken on purpose.

The worker's own code runs as it is, from the consumer's loop down to the recogniser's session. What
surrounds it is made here: a broker with groups, a database, a recogniser, processes that are frozen and
killed. One seed gives one run, exactly. docs/guarantees.md says what is proved with it.
"""
