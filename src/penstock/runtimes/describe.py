"""What a runtime tells of a model it has opened, made from the model itself."""

from __future__ import annotations

from typing import Any

from penstock.core.errors import InvalidInput, ModelFileError
from penstock.core.model import ModelSource
from penstock.core.predictor import Description, TensorSpec
from penstock.core.rows import RowReader, is_integral
from penstock.core.values import AnswerKind, Array
from penstock.runtimes.leaf import Signature


def describe_model(signature: Signature, source: ModelSource, sample: Array | None) -> Description:
    """Return the description of an opened model.

    Args:
        signature: what it takes and gives.
        source: what it was opened from.
        sample: the spec's, as a tensor.
    """
    return Description(
        name=signature.model,
        kind=AnswerKind.SCORES,
        version=signature.version,
        inputs=(signature.rows,),
        outputs=(signature.scores,),
        labels=signature.labels,
        sample=sample,
        source=source.path.name if source.path else signature.model,
    )


def sample_rows(source: ModelSource, spec: TensorSpec) -> Array | None:
    """Return the spec's sample as a tensor `[rows, ...]`, or None where it gives none.

    Raises:
        ModelFileError: the sample is not what the model takes.
    """
    if source.sample is None:
        return None
    wrong = _not_a_number(source.sample, "sample", whole=is_integral(spec.datatype))
    if wrong:
        raise ModelFileError(source.name, source.where, wrong)
    try:
        return RowReader(spec, "sample").read(source.sample)
    except InvalidInput as error:
        raise ModelFileError(source.name, source.where, error.message) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip() if lines else type(error).__name__


def _not_a_number(value: Any, path: str, *, whole: bool) -> str:  # noqa: ANN401 - any depth
    if isinstance(value, (list, tuple)):
        places = (_not_a_number(item, f"{path}[{i}]", whole=whole) for i, item in enumerate(value))
        return next((place for place in places if place), "")
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits:
        return f"{path} is {value!r}, not a {'whole ' if whole else ''}number"
    return f"{path} is NaN, not a number" if value != value else ""
