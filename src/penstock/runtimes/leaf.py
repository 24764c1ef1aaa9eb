"""A model as a predictor: checks rows, runs them, labels the scores, adds the hop."""

from __future__ import annotations

from typing import final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import (
    DeadlineExceeded,
    ModelFailed,
    NoLabels,
    ServingError,
)
from penstock.core.labels import labelled_outputs
from penstock.core.predictor import TensorSpec
from penstock.core.values import (
    AnswerKind,
    Hop,
    InferenceRequest,
    InferenceResponse,
)
from penstock.runtimes.row_fit import RowFit
from penstock.runtimes.running import Runner


class Signature(Struct, frozen=True):
    """What a model takes and gives.

    Attributes:
        model: its name in the spec.
        version: of its file, or as named.
        rows: the one input.
        scores: the primary output, `[rows, columns]`.
        labels: class names by column, or empty.
    """

    model: str
    version: str
    rows: TensorSpec
    scores: TensorSpec
    labels: tuple[str, ...]

    @property
    def hop(self) -> str:
        """The name of its hop: `model:iris_rf@6c4ef19f5054`."""
        version = f"@{self.version}" if self.version else ""
        return f"model:{self.model}{version}"


@final
class ModelPredictor:
    """Answers with a model's scores, or its labels when asked.

    Args:
        signature: what the model takes and gives.
        runner: runs it.
        clock: tells the time.
    """

    def __init__(self, signature: Signature, *, runner: Runner, clock: Clock) -> None:
        self._runner = runner
        self._now_s = clock.now_s
        self._model = signature.model
        self._version = signature.version
        self._labels = signature.labels
        self._called = f"model {signature.model}"
        self._rows_of = RowFit(self._called, signature.rows).rows_of
        self._output = signature.scores.name
        columns = signature.scores.shape[1:]
        self._columns = None if -1 in columns else columns
        self._hop = signature.hop

    def __repr__(self) -> str:
        return self._model

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Run the model on the request's one tensor.

        Raises:
            InvalidInput: another shape than the model takes, or values out of its datatype's range.
            NoLabels: labels are asked for, and the model has none.
            DeadlineExceeded: the deadline had passed before the run, or passed during it.
            Overloaded, NotReady, ModelFailed, AnswerNotFinite: as the runner says.
        """
        started_s = self._now_s()
        try:
            if request.labelled and not self._labels:
                raise NoLabels(self._called)
            if started_s >= request.deadline_s:
                raise DeadlineExceeded(self._called)
            scores = await self._runner(self._rows_of(request), request.deadline_s)
            ended_s = self._now_s()
            if ended_s >= request.deadline_s:
                raise DeadlineExceeded(self._called)
            if self._columns is not None and scores.shape[1:] != self._columns:
                raise ModelFailed(
                    self._model, f"gave {scores.shape[1:]} a row, not {self._columns}"
                )
        except ServingError as error:
            hop = Hop(f"{self._hop}!{error.code}", started_s, self._now_s() - started_s)
            error.trail = (hop, *error.trail)
            raise
        if request.labelled:
            kind, outputs = AnswerKind.LABELLED, labelled_outputs(scores, self._labels)
        else:
            kind, outputs = AnswerKind.SCORES, {self._output: scores}
        trail = (Hop(self._hop, started_s, ended_s - started_s),)
        return InferenceResponse(kind, outputs, self._model, self._version, trail)
