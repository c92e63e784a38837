"""Calls, legs, coverage and the call log: the decisions of the worker, free of I/O.

Nothing here reads a clock, opens a socket or awaits: time, identities and results come in as
arguments, decisions go out as values.
"""
