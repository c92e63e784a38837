"""The rule language, its loader, and the engine that runs rules over a call's log.

Read in this order: ``language`` (what a rule may say), ``documents`` (YAML with places, for errors that
can be acted on), ``phrases`` (how words match), ``ruleset`` (a loaded file and its hash), ``engine``
(what happens when a log entry arrives), ``utterances`` and ``silences`` (when a condition holds),
``lifecycle`` (how an incident opens, goes on and closes).
"""

from __future__ import annotations
