"""A model as a runtime is told of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.measures import ModelMeasure
from penstock.core.predictor import OpenModel

MODEL_THREAD: Final = "model-"
"""How the names of the threads that run models begin."""


class ModelSource(Struct, frozen=True, kw_only=True):
    """What is to be opened.

    Attributes:
        name: in the spec.
        folder: the spec's; Python callables are imported from it.
        path: the model's file; None for a callable that needs none.
        sha256: what the file's digest must be, if given.
        labels: class names by column; empty where the file's own are to be used, if it has any.
        sample: rows as nested lists, or None.
        output: the output that holds the scores, or None for the only floating-point one.
        runtime: `module:attribute`, or None to go by the file's ending.
        execution: where it runs, or None to measure.
        threads: for one run.
        providers: ONNX Runtime's, in order of preference.
        urls: where replicas of it are served instead of here, `host:port` or a URL each; empty for
            a model that is opened here.
        protocol: what those speak.
        measure: what is counted of its runs; None where nobody asks.
    """

    name: str
    folder: Path
    path: Path | None = None
    sha256: str | None = None
    labels: tuple[str, ...] = ()
    sample: tuple[Any, ...] | None = None
    output: str | None = None
    runtime: str | None = None
    execution: Literal["inline", "thread", "process"] | None = None
    threads: int = 1
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    urls: tuple[str, ...] = ()
    protocol: Literal["plain", "oip"] = "plain"
    measure: ModelMeasure | None = None

    @property
    def where(self) -> str:
        """The address, the file, or the callable, for messages."""
        return str(self.urls[0] if self.urls else self.path or self.runtime)


class Runtime(Protocol):
    """Opens a model as a predictor. Users bring their own; so this is open."""

    def __call__(
        self, source: ModelSource, /, *, clock: Clock
    ) -> AbstractAsyncContextManager[OpenModel]:
        """Return what loads the model on entering and frees it on leaving.

        Raises:
            ModelFileError: on entering: missing, wrong or unreadable.
        """


RuntimeFor = Callable[[ModelSource], Runtime]
