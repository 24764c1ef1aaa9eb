"""A worker's place in a crew, whichever process has it."""

from __future__ import annotations

from typing import final

from penstock.supervisor.backoff import Backoff
from penstock.supervisor.crew import Member, Phase
from penstock.supervisor.process import WorkerProcess
from penstock.supervisor.worker import LinkedWorker


@final
class Seat:
    """A worker's place: its index and its listening socket stay, its process may change.

    Args:
        index: of the worker.

    Attributes:
        index: of the worker.
        process: the newest; None before the first.
        phase: what it is at.
        joined: it takes part in changes.
        keeper: whose process accepts from its socket meanwhile.
        backoff: what is known of its deaths.
        restarts: how many processes have been started in the place of the first.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: WorkerProcess | None = None
        self.phase: Phase = "opening"
        self.joined = False
        self.keeper: Seat | None = None
        self.backoff = Backoff()
        self.restarts = 0

    @property
    def linked(self) -> LinkedWorker:
        """What its process can be asked."""
        assert self.process is not None
        return self.process.worker

    @property
    def serving(self) -> bool:
        """Whether it accepts connections."""
        return self.phase == "serving" and self.process is not None and self.process.alive

    @property
    def counts(self) -> bool:
        """Whether it has something to report: it also has while it leaves."""
        return self.joined or self.phase == "leaving"

    @property
    def member(self) -> Member:
        """What is known of it without asking it."""
        process = self.process
        alive = process is not None and process.alive
        return Member(
            index=self.index,
            pid=process.pid if process is not None and alive else 0,
            phase=self.phase,
            started_wall_s=0.0 if process is None else process.started_wall_s,
            restarts=self.restarts,
        )
