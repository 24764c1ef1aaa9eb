"""Whether opened models fit the places where a spec puts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final, assert_never

from penstock.core.predictor import Description
from penstock.core.values import AnswerKind
from penstock.spec.alike import line_up, unlike
from penstock.spec.conditions import branches, places
from penstock.spec.problems import Lines, Problem, child, listed, meant, quoted
from penstock.spec.tree import (
    Aggregate,
    Breaker,
    Condition,
    Expression,
    FanOut,
    Layer,
    Mirror,
    Pipeline,
    PredictionLog,
    RateLimit,
    Retry,
    Spec,
    Split,
    Threshold,
    Timeout,
)
from penstock.spec.walk import arms, everything, first_model, sole_model

LABELS: Final = "give the model labels"
ALIKE: Final = "split only between predictors whose answers a caller can read alike"
COMBINED: Final = frozenset({Aggregate.MEAN, Aggregate.VOTE, Aggregate.WEIGHTED})


def check_shapes(
    spec: Spec, descriptions: Mapping[str, Description], lines: Lines
) -> Iterator[Problem]:
    """Yield what does not line up; models without a description are passed over."""
    shapes = _Shapes(spec, descriptions, lines)
    for part in chain.from_iterable(map(everything, spec.routes.values())):
        if isinstance(part, FanOut):
            yield from shapes.fan_out(part)
        elif isinstance(part, Split):
            yield from shapes.split(part)
        elif isinstance(part, Condition):
            yield from shapes.condition(part)
        elif isinstance(part, Pipeline):
            yield from shapes.pipeline(part)


class _Shapes:
    def __init__(self, spec: Spec, descriptions: Mapping[str, Description], lines: Lines) -> None:
        self._spec = spec
        self._descriptions = descriptions
        self._lines = lines

    def same_rows(self, path: str, members: Mapping[str, Expression]) -> Iterator[Problem]:
        """Yield a problem for each member that takes other rows than the first."""
        rows = {name: self._rows(expression) for name, expression in members.items()}
        known = {name: shape for name, shape in rows.items() if shape is not None}
        for name, shape in known.items():
            first, expected = next(iter(known.items()))
            if not line_up(shape, expected):
                yield self._lines.error(child(path, name), _unlike(name, shape, first, expected))

    def fan_out(self, fan_out: FanOut) -> Iterator[Problem]:
        """Yield what does not line up between a fan_out's arms."""
        uses = {name: arm.use for name, arm in fan_out.arms.items()}
        models = {
            name: model for name, use in uses.items() if (model := self._sole(use)) is not None
        }
        scored = {name: model for name, model in models.items() if model.kind is AnswerKind.SCORES}
        yield from self.same_rows(child(fan_out.place, "arms"), uses)
        yield from self._combined(fan_out, scored)
        yield from self._positive(fan_out, scored)
        for name, model in models.items():
            arm = fan_out.arms[name]
            yield from self._validated(arm.place, arm.validated_for, model)

    def condition(self, condition: Condition) -> Iterator[Problem]:
        """Yield what keeps rows from being read before the branch is chosen."""
        uses, at = branches(condition), places(condition)
        shapes = {name: rows for name, use in uses.items() if (rows := self._rows(use)) is not None}
        for name, rows in shapes.items():
            first, expected = next(iter(shapes.items()))
            if len(rows) != len(expected):
                yield self._lines.error(at[name], _unlike(name, rows, first, expected))
        for index, rule in enumerate(condition.when):
            for name in list(uses)[index:]:
                rows = shapes.get(name, (-1,))
                if rule.column is not None and not _has_column(rows, rule.column):
                    what = f"there is no column {rule.column}"
                    sentence = f"{what}: the first is 0, and {name} takes rows of {_values(rows)}"
                    yield self._lines.error(child(rule.place, "column"), sentence)
                    break

    def split(self, split: Split) -> Iterator[Problem]:
        """Yield what does not line up between a split's arms: a caller may meet any of them."""
        path = child(split.place, "arms")
        uses = arms(split)
        yield from self.same_rows(path, uses)
        models = {
            name: model for name, use in uses.items() if (model := self._sole(use)) is not None
        }
        for name, model in models.items():
            first = next(iter(models))
            difference = unlike(model, models[first])
            if difference:
                sentence = f"the answers of {name} and {first} do not line up: {difference}"
                yield self._lines.error(child(path, name), sentence, ALIKE)
        yield from self._unlabelled(path, models)

    def _unlabelled(self, path: str, models: Mapping[str, Description]) -> Iterator[Problem]:
        labelled = [name for name, model in models.items() if model.labels]
        for name, model in models.items():
            if labelled and not model.labels and model.kind is AnswerKind.SCORES:
                sentence = f"{name} has no labels and {labelled[0]} has some"
                hint = f"users of {name} get no /predict/label; {LABELS}"
                yield self._lines.warning(child(path, name), sentence, hint)

    def pipeline(self, pipeline: Pipeline) -> Iterator[Problem]:
        """Yield what does not line up between layers and what stands below them."""
        below = self._sole(pipeline.target)
        for layer in pipeline.layers:
            beside = {"the target": pipeline.target, **_beside(layer)}
            yield from self.same_rows(layer.place, beside)
            if isinstance(layer, PredictionLog) and layer.outlier is not None:
                yield from self._outlier(child(layer.place, "outlier"), layer.outlier)
            if below is not None and isinstance(layer, Threshold):
                yield from self._threshold(layer, below)
            if below is not None and isinstance(layer, Breaker | Threshold):
                yield from self._validated(layer.place, layer.validated_for, below)

    def _combined(self, fan_out: FanOut, models: Mapping[str, Description]) -> Iterator[Problem]:
        if fan_out.aggregate not in COMBINED:
            return
        path = child(fan_out.place, "aggregate")
        columns = {name: count for name, model in models.items() if (count := _columns(model))}
        labels = {name: model.labels for name, model in models.items() if model.labels}
        if len(set(columns.values())) > 1:
            counts = listed((f"{name} {count}" for name, count in columns.items()), "and")
            sentence = f"{fan_out.aggregate} needs arms with the same columns; they have: {counts}"
            yield self._lines.error(path, sentence)
        elif len(set(labels.values())) > 1:
            sentence = f"{fan_out.aggregate} needs arms with the same labels in the same order"
            yield self._lines.error(path, sentence)

    def _positive(self, fan_out: FanOut, models: Mapping[str, Description]) -> Iterator[Problem]:
        path = child(fan_out.place, "positive")
        if fan_out.aggregate in COMBINED:
            return
        if not self._lines.has(path):
            yield from self._unwritten_positive(fan_out, models)
            return
        for name, model in models.items():
            if isinstance(fan_out.positive, str):
                yield from self._known_class(path, fan_out.positive, model)
            elif (columns := _columns(model)) is not None and fan_out.positive >= columns:
                sentence = f"the arm {name} has {columns} output columns, the first is 0"
                yield self._lines.error(path, sentence)

    def _unwritten_positive(
        self, fan_out: FanOut, models: Mapping[str, Description]
    ) -> Iterator[Problem]:
        two = [name for name, model in models.items() if _columns(model) == 2]
        if two:
            sentence = f"no positive is written, so column 0 means yes for {listed(two, 'and')}"
            hint = "write positive: 0, or 1: most scikit-learn models have yes in column 1"
            yield self._lines.warning(fan_out.place, sentence, hint)

    def _threshold(self, threshold: Threshold, model: Description) -> Iterator[Problem]:
        if model.kind is not AnswerKind.SCORES:
            sentence = f"a threshold needs scores, and {model.name} answers without"
            yield self._lines.error(threshold.place, sentence)
        elif _columns(model) == 1:
            sentence = f"a threshold needs a classifier, and {model.name} has one output column"
            yield self._lines.error(threshold.place, sentence)
        elif not model.labels:
            sentence = f"a threshold needs labels, and {model.name} has none"
            yield self._lines.error(threshold.place, sentence, LABELS)
        else:
            for name in threshold.classes:
                path = child(child(threshold.place, "classes"), name)
                yield from self._known_class(path, name, model)

    def _outlier(self, path: str, outlier: Expression) -> Iterator[Problem]:
        model = self._sole(outlier)
        if model is not None and (
            model.kind is not AnswerKind.SCORES or _columns(model) not in (1, None)
        ):
            sentence = f"an outlier model gives one score a row, and {model.name} does not"
            yield self._lines.error(path, sentence)

    def _known_class(self, path: str, name: str, model: Description) -> Iterator[Problem]:
        if not model.labels:
            sentence = f"{model.name} has no labels, so no class {quoted(name)}"
            yield self._lines.error(path, sentence, LABELS)
        elif name not in model.labels:
            hint = meant(name, model.labels)
            yield self._lines.error(path, f"{model.name} has no class {quoted(name)}", hint)

    def _validated(
        self, path: str, validated_for: str | None, model: Description
    ) -> Iterator[Problem]:
        if validated_for is None or not model.version:
            return
        if not (validated_for.startswith(model.version) or model.version.startswith(validated_for)):
            sentence = f"chosen for version {validated_for}, but {model.name} is {model.version}"
            yield self._lines.warning(child(path, "validated_for"), sentence)

    def _sole(self, expression: Expression) -> Description | None:
        return self._descriptions.get(sole_model(expression, self._spec) or "")

    def _rows(self, expression: Expression) -> tuple[int, ...] | None:
        """Return the shape of one row, or None where it is not known."""
        model = self._descriptions.get(first_model(expression, self._spec) or "")
        return model.inputs[0].shape[1:] if model is not None and model.inputs else None


def _beside(layer: Layer) -> dict[str, Expression]:
    match layer:
        case PredictionLog(outlier=other) if other is not None:
            return {"outlier": other}
        case Mirror():
            return {"shadow": layer.shadow}
        case Breaker(otherwise=other) if other is not None:
            return {"otherwise": other}
        case PredictionLog() | Breaker() | Threshold() | RateLimit() | Timeout() | Retry():
            return {}
        case _:
            assert_never(layer)


def _columns(model: Description) -> int | None:
    """Return how many scores a model gives a row, or None where it does not say."""
    if not model.outputs:
        return None
    *_, last = (1, *model.outputs[0].shape[1:])
    return last if last > 0 else None


def _unlike(name: str, rows: tuple[int, ...], first: str, expected: tuple[int, ...]) -> str:
    takes = f"{name} takes rows of {_values(rows)}, {first} of {_values(expected)}"
    return f"the shapes do not line up: {takes}"


def _has_column(rows: tuple[int, ...], column: int) -> bool:
    return len(rows) == 1 and (rows[0] < 0 or column < rows[0])


def _values(shape: tuple[int, ...]) -> str:
    return "x".join("any" if size < 0 else str(size) for size in shape) + " values"
