"""The open models of one process, shared by the generations that use them.

A change of a weight builds a new graph of the same models: what is open already is not opened
again. A model stays open as long as a generation uses it; one whose file, labels or keys in the
spec have changed is another model and is opened beside the old one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias, final

import msgspec
from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import ModelFileError, SpecError
from penstock.core.measures import Measures
from penstock.core.model import ModelSource, Runtime
from penstock.core.predictor import Description, OpenModel, PoolCounted
from penstock.core.readings import pool_readings
from penstock.core.snapshot import Reading
from penstock.graph.labels import read_labels
from penstock.spec import tree

Identity: TypeAlias = tuple[object, ...]
"""What makes an open model another one: what it was opened from, and that file's state."""


class _Open:
    """One open model.

    Attributes:
        model: as its runtime yielded it, with its latest description.
        users: how many generations use it.
    """

    def __init__(self, model: OpenModel, stack: AsyncExitStack) -> None:
        self.model = model
        self.stack = stack
        self.users = 0


@final
class Lease:
    """Models that are open as long as somebody holds this.

    Args:
        used: the open models by name.

    Attributes:
        models: as they described themselves when the lease began.
    """

    def __init__(self, used: Mapping[str, _Open]) -> None:
        self.used = used
        self.models: Mapping[str, OpenModel] = {name: one.model for name, one in used.items()}


class _Wanted(Struct, frozen=True):
    source: ModelSource
    identity: Identity


@final
class OpenModels:
    """Opens models once for all who use them, and closes them after the last.

    Args:
        clock: tells the time.
        measures: what is counted of their runs and pools.

    Attributes:
        described: counts up whenever an open model describes itself anew, as remote ones do.
        on_described: is called when it has.
    """

    def __init__(self, clock: Clock, measures: Measures) -> None:
        self._clock = clock
        self._measures = measures
        self._open: dict[Identity, _Open] = {}
        self._opening = asyncio.Lock()
        self.described = 0
        self.on_described: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def leased(
        self, spec: tree.Spec, folder: Path, again: Lease | None = None
    ) -> AsyncIterator[Lease]:
        """Open a spec's models, as far as they are not open yet, and keep them open until left.

        Args:
            spec: names the models.
            folder: the spec's; paths are relative to it.
            again: an earlier lease of the same spec, not yet left, whose very models are meant,
                whatever has become of their files.

        Raises:
            ModelFileError: one model cannot be opened.
            SpecError: several cannot; all are told.
        """
        used: dict[str, _Open] = {}
        try:
            if again is None:
                async with self._opening:
                    await self._lease_all(spec, folder, used)
            else:
                _lease_again(again, used)
            yield Lease(used)
        finally:
            await self._release(list(used.values()))

    async def _lease_all(self, spec: tree.Spec, folder: Path, used: dict[str, _Open]) -> None:
        wrong: list[ModelFileError] = []
        for name, model in spec.models.items():
            try:
                wanted = await asyncio.to_thread(_wanted, name, model, folder)
                one = self._open.get(wanted.identity) or await self._opened(wanted)
            except ModelFileError as error:
                wrong.append(error)
            else:
                one.users += 1
                used[name] = one
        if len(wrong) == 1:
            raise wrong[0]
        if wrong:
            raise SpecError(tuple(error.message for error in wrong))

    async def _opened(self, wanted: _Wanted) -> _Open:
        stack = AsyncExitStack()
        name = wanted.source.name
        source = msgspec.structs.replace(wanted.source, measure=self._measures.model(name))
        opening = runtime_for(source)(source, clock=self._clock)
        one = _Open(await stack.enter_async_context(opening), stack)
        if one.model.pool is not None:
            read = partial(_pool_readings, name, one.model.pool)
            stack.enter_context(self._measures.watching(read))
        if one.model.follow is not None:
            one.model.follow(partial(self._describe, one))
        self._open[wanted.identity] = one
        return one

    def _describe(self, one: _Open, description: Description) -> None:
        one.model = msgspec.structs.replace(one.model, description=description)
        self.described += 1
        if self.on_described is not None:
            self.on_described()

    async def _release(self, models: Sequence[_Open]) -> None:
        """Close what nobody uses any more, the last opened first."""
        unused = []
        for one in reversed(models):
            one.users -= 1
            if not one.users:
                unused.append(one)
        self._open = {key: one for key, one in self._open.items() if one.users}
        async with AsyncExitStack() as closing:
            for one in reversed(unused):
                closing.push_async_callback(one.stack.aclose)


def _lease_again(lease: Lease, used: dict[str, _Open]) -> None:
    for name, one in lease.used.items():
        one.users += 1
        used[name] = one


def _pool_readings(model: str, counts: Callable[[], PoolCounted]) -> Iterator[Reading]:
    return pool_readings(model, counts())


def _wanted(name: str, model: tree.Model, folder: Path) -> _Wanted:
    source = source_of(name, model, folder)
    return _Wanted(source, (repr(source), *_state_of(source.path)))


def _state_of(path: Path | None) -> Identity:
    """Return what changes when a file is written to or replaced."""
    if path is None:
        return ()
    try:
        state = os.stat(path)
    except OSError:  # its runtime says so better
        return ()
    return (state.st_ino, state.st_size, state.st_mtime_ns)


def source_of(name: str, model: tree.Model, folder: Path) -> ModelSource:
    """Return what a runtime is told of a model; reads its labels.

    Args:
        name: the model's.
        model: from the spec.
        folder: the spec's.

    Raises:
        ModelFileError: the labels cannot be read.
    """
    urls = urls_of(model)
    return ModelSource(
        name=name,
        folder=folder,
        path=None if model.path is None or urls else folder / model.path,
        sha256=model.sha256,
        labels=_labels(name, model, folder),
        sample=model.sample,
        output=model.output,
        runtime=None if urls else model.runtime,
        execution=None if model.execution is None else model.execution.value,
        threads=model.threads,
        providers=model.providers,
        urls=urls,
        protocol="oip" if model.protocol is tree.Protocol.OIP else "plain",
    )


def urls_of(model: tree.Model) -> tuple[str, ...]:
    """Return where a model is served instead of here; nothing where it is opened here."""
    return model.urls or ((model.url,) if model.url else ())


def _labels(name: str, model: tree.Model, folder: Path) -> tuple[str, ...]:
    if model.labels is None:
        return ()
    if isinstance(model.labels, tuple):
        return model.labels
    return read_labels(name, folder / model.labels)


def runtime_for(source: ModelSource) -> Runtime:
    """Choose the runtime: of a remote model, by the spec's word, else by the file's ending.

    Raises:
        ModelFileError: no runtime opens such a file.
    """
    suffix = "" if source.path is None else source.path.suffix
    runtime = suffix.removeprefix(".") if source.runtime is None else source.runtime
    if source.urls:
        from penstock.runtimes.remote import open_remote

        return open_remote
    if ":" in runtime:
        from penstock.runtimes.callable import open_callable

        return open_callable
    if runtime == "onnx" and source.path is not None:
        from penstock.runtimes.onnx import open_onnx

        return open_onnx
    raise ModelFileError(
        source.name,
        source.where,
        "no runtime opens this: give a .onnx file, `runtime: module:attribute`, or a `url`",
    )
