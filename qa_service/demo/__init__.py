"""``qa-service demo``: the whole service on this machine, on sample calls, from nothing to alerts."""
