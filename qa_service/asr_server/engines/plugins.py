"""Engines of installed packages, which join the server without a change to it.

A package offers an engine under a name of its own, by an entry point:

    [project.entry-points."qa_service.engines"]
    my-engine = "my_package:open_engine"

``open_engine`` takes `EngineOptions` and gives an `Engine`. Nothing of a package is imported unless its
engine is the one that is asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from qa_service.asr_server.engines import BatchEngine, Capabilities, EncodingEngine, Engine
from qa_service.asr_server.errors import EngineError

_log = structlog.get_logger(__name__)

GROUP: Final = "qa_service.engines"
"""The group of entry points in which engines are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What the server knows when it opens an engine."""

    threads: int
    """Calls of ``transcribe`` that run side by side; each should keep to one core."""
    cache_dir: Path
    """Where downloaded model files are kept, shared with all parts."""
    model: str | None = None
    """The name of the model to use instead of the engine's own (``QA_SERVER_MODEL``)."""
    model_path: Path | None = None
    """The folder of the model to use instead (``QA_SERVER_MODEL_PATH``); not together with a name."""
    report: Callable[[str], None] = lambda _line: None
    """Takes a line about progress, such as a download."""


EngineFactory: TypeAlias = Callable[[EngineOptions], Engine]


def open_engine(
    name: str, options: EngineOptions, built_in: Mapping[str, EngineFactory] | None = None
) -> Engine:
    """The engine called ``name``: one of ``built_in``, else that of an installed package.

    Raises:
        EngineError: there is no such engine, or more than one, or it cannot be opened.
    """
    built_in = built_in or {}
    offers = _offers()
    if name in built_in:
        for offer in offers.get(name, ()):
            _log.warning("engine_ignored", engine=name, package=_package(offer), reason="the name is taken")
        return built_in[name](options)
    if name not in offers:
        raise EngineError(_unknown(name, [*built_in, *offers]))
    if len(offers[name]) > 1:
        packages = " and ".join(sorted(_package(offer) for offer in offers[name]))
        raise EngineError(f"engine {name!r} is offered by {packages}; uninstall all but one of them")
    return _open_offer(offers[name][0], options)


def _offers() -> dict[str, list[EntryPoint]]:
    """What installed packages offer, by name."""
    offers: dict[str, list[EntryPoint]] = {}
    for offer in entry_points(group=GROUP):
        offers.setdefault(offer.name, []).append(offer)
    return offers


def _open_offer(offer: EntryPoint, options: EngineOptions) -> Engine:
    origin = f"engine {offer.name!r} of {_package(offer)} ({offer.value})"
    try:
        engine = offer.load()(options)
    except EngineError:
        raise
    except Exception as error:  # a stranger's code may fail in any way
        raise EngineError(f"{origin} cannot be opened: {type(error).__name__}: {error}") from error
    capabilities = getattr(engine, "capabilities", None)
    if not (isinstance(capabilities, Capabilities) and callable(getattr(engine, "transcribe", None))):
        raise EngineError(
            f"{origin} gives no engine: capabilities and transcribe are needed, see {Engine.__module__}"
        )
    if capabilities.max_batch > 1 and not isinstance(engine, BatchEngine):
        raise EngineError(f"{origin} gives no engine: with max_batch over 1 transcribe_batch is needed")
    if capabilities.encodes and not isinstance(engine, EncodingEngine):
        raise EngineError(f"{origin} gives no engine: with encodes set encode is needed")
    return engine  # type: ignore[no-any-return] # looked at just now


def _package(offer: EntryPoint) -> str:
    return f"{offer.dist.name} {offer.dist.version}" if offer.dist is not None else "an unnamed package"


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"there is no engine {name!r}{hint}; installed are {', '.join(sorted(known))} (QA_SERVER_ENGINE)"
