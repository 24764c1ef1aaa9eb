"""The rules of compacting: one at a time, steps are told, nothing damaged is deleted."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Final, TypeAlias

from penstock.core.errors import PenstockError
from penstock.core.folders import make_private
from penstock.stores.manifests import DAMAGED, private, sync_folder

LOCK: Final = "compact.lock"

Step: TypeAlias = Callable[[str], None]
"""Is told what is about to be done."""


class CompactorBusy(PenstockError):
    """Another compactor is at work in the folder."""

    code = "compactor_busy"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another process is compacting {folder}; there is one at a time")


class CannotCompact(PenstockError):
    """The disk refuses; nothing is lost, and the next run goes on from there."""

    code = "cannot_compact"

    def __init__(self, folder: Path, cause: OSError) -> None:
        why = (cause.strerror or str(cause)).lower()
        super().__init__(
            f"the prediction log in {folder} cannot be compacted: {why}; its segments stay, and "
            "the next run goes on from here"
        )


def no_step(name: str) -> None:
    """Pass over a step."""


def keep(folder: Path, paths: Sequence[Path], step: Step = no_step) -> None:
    """Move what is damaged to where it is kept; what is not there has been moved before.

    Raises:
        OSError: the disk refuses.
    """
    damaged = folder / DAMAGED
    make_private(damaged)
    for number, path in enumerate(paths):
        step(f"keep {number}")
        with contextlib.suppress(FileNotFoundError):
            path.replace(_free(damaged / path.name))
    sync_folder(damaged)
    sync_folder(folder)


def _free(path: Path) -> Path:
    """Return a name that nothing has yet, this one or one like it."""
    numbered = (path.with_name(f"{path.name}.{number}") for number in count(1))
    return next(one for one in chain([path], numbered) if not one.exists())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the one compactor of a log.

    Raises:
        CompactorBusy: there is one.
        CannotCompact: the disk refuses.
    """
    try:
        lock = open(folder / LOCK, "ab", opener=private)  # noqa: SIM115 - until the end
    except OSError as error:
        raise CannotCompact(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CompactorBusy(folder) from error
        yield
