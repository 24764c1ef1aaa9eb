from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest

from penstock.core.clock import SystemClock
from penstock.core.errors import ModelFileError, NotReady, SpecError
from penstock.core.measures import Measures
from penstock.core.model import ModelSource
from penstock.core.predictor import OpenModel
from penstock.core.values import InferenceRequest, InferenceResponse
from penstock.graph.models import OpenModels, runtime_for, source_of, urls_of
from penstock.runtimes.callable import open_callable
from penstock.runtimes.onnx import open_onnx
from penstock.runtimes.remote import open_remote
from penstock.spec import tree
from penstock.spec.decode import decode
from penstock.spec.read import read_text
from tests.support import IRIS, settle

MODELS: Final = Path(__file__).parents[2] / "models"


def spec_of(models: str) -> tree.Spec:
    text = textwrap.dedent(models).replace("MODELS", str(MODELS))
    spec, problems = decode(read_text(f"models: {text}\nroutes: {{}}\n", {}))
    assert problems == ()
    assert spec is not None
    return spec


async def asked_directly(model: OpenModel) -> InferenceResponse:
    rows = np.array([IRIS], dtype=np.float32)
    return await model.predict(InferenceRequest("mine", "it", {"data": rows}, float("inf"), 7))


SVC: Final = "{svc: {path: MODELS/iris_svc.onnx}}"
BOTH: Final = "{svc: {path: MODELS/iris_svc.onnx}, rf: {path: MODELS/iris_rf.onnx}}"


# --- what is open already ----------------------------------------------------------------


async def test_what_is_open_is_not_opened_again() -> None:
    open_models = OpenModels(SystemClock(), Measures())
    async with (
        open_models.leased(spec_of(SVC), MODELS) as first,
        open_models.leased(spec_of(BOTH), MODELS) as second,
    ):
        assert first.models["svc"].predict is second.models["svc"].predict
        assert len(open_models) == 2
    assert len(open_models) == 0


async def test_a_model_stays_open_as_long_as_somebody_uses_it() -> None:
    open_models = OpenModels(SystemClock(), Measures())
    first = open_models.leased(spec_of(BOTH), MODELS)
    second = open_models.leased(spec_of(SVC), MODELS)
    models = (await first.__aenter__()).models
    await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert len(open_models) == 1
    assert (await asked_directly(models["svc"])).model == "svc"
    with pytest.raises(NotReady):
        await asked_directly(models["rf"])
    await second.__aexit__(None, None, None)
    with pytest.raises(NotReady):
        await asked_directly(models["svc"])


@pytest.mark.parametrize(
    "other",
    [
        "{svc: {path: MODELS/iris_svc.onnx, labels: [a, b, c]}}",
        "{svc: {path: MODELS/iris_svc.onnx, threads: 2}}",
        "{svc: {path: MODELS/iris_rf.onnx}}",
        "{rf: {path: MODELS/iris_svc.onnx}}",
    ],
)
async def test_a_model_of_other_keys_is_another(other: str) -> None:
    open_models = OpenModels(SystemClock(), Measures())
    async with (
        open_models.leased(spec_of(SVC), MODELS),
        open_models.leased(spec_of(other), MODELS),
    ):
        assert len(open_models) == 2


async def test_a_file_that_was_replaced_is_another_model(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes((MODELS / "iris_svc.onnx").read_bytes())
    open_models = OpenModels(SystemClock(), Measures())
    spec = spec_of("{m: {path: model.onnx}}")
    async with open_models.leased(spec, tmp_path) as before:
        new = tmp_path / "new.onnx"
        new.write_bytes((MODELS / "iris_rf.onnx").read_bytes())
        new.replace(file)
        async with open_models.leased(spec, tmp_path) as after:
            assert before.models["m"].description.version != after.models["m"].description.version


async def test_a_lease_taken_again_has_the_very_models_whatever_became_of_their_files(
    tmp_path: Path,
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes((MODELS / "iris_svc.onnx").read_bytes())
    open_models = OpenModels(SystemClock(), Measures())
    spec = spec_of("{m: {path: model.onnx}}")
    async with open_models.leased(spec, tmp_path) as before:
        file.unlink()
        again = open_models.leased(spec, tmp_path, before)
        lease = await again.__aenter__()
        assert lease.models["m"].predict is before.models["m"].predict
    assert (await asked_directly(lease.models["m"])).model == "m"
    await again.__aexit__(None, None, None)
    assert len(open_models) == 0


async def test_leases_at_once_open_a_model_once() -> None:
    open_models = OpenModels(SystemClock(), Measures())
    predictors: list[OpenModel] = []

    async def lease() -> None:
        async with open_models.leased(spec_of(SVC), MODELS) as lease:
            predictors.append(lease.models["svc"])
            await all_have_one.wait()

    all_have_one = asyncio.Barrier(3)
    await asyncio.gather(lease(), lease(), lease())
    assert len({id(model.predict) for model in predictors}) == 1
    assert len(open_models) == 0


async def test_a_lease_that_fails_gives_back_what_it_had() -> None:
    open_models = OpenModels(SystemClock(), Measures())
    wrong = spec_of("{svc: {path: MODELS/iris_svc.onnx}, none: {path: none.onnx}}")
    with pytest.raises(ModelFileError):
        async with open_models.leased(wrong, MODELS):
            raise AssertionError
    assert len(open_models) == 0


async def test_all_that_cannot_be_opened_is_told() -> None:
    open_models = OpenModels(SystemClock(), Measures())
    with pytest.raises(SpecError) as caught:
        async with open_models.leased(
            spec_of("{one: {path: 1.onnx}, two: {path: 2.onnx}}"), MODELS
        ):
            raise AssertionError
    assert len(caught.value.problems) == 2


# --- descriptions that come later --------------------------------------------------------


async def test_a_new_description_is_counted_told_and_leased() -> None:
    open_models = OpenModels(SystemClock(), Measures())
    told: list[int] = []
    spec = spec_of("{far: {url: 'localhost:1'}}")
    async with open_models.leased(spec, MODELS) as before:
        assert not before.models["far"].description.known
        (one,) = open_models._open.values()
        known = msgspec.structs.replace(before.models["far"].description, known=True)
        open_models._describe(one, known)
        open_models.on_described = lambda: told.append(open_models.described)
        open_models._describe(one, known)
        assert (told, open_models.described) == ([2], 2)
        async with open_models.leased(spec, MODELS) as after:
            assert after.models["far"].description.known
            assert after.models["far"].predict is before.models["far"].predict
    await settle()


# --- sources -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "urls"),
    [
        (tree.Model(path="a.onnx"), ()),
        (tree.Model(path="a.onnx", url=""), ()),
        (tree.Model(path="a.onnx", url="host:1"), ("host:1",)),
        (tree.Model(urls=("host:1", "host:2")), ("host:1", "host:2")),
    ],
)
def test_a_model_with_an_address_is_remote(model: tree.Model, urls: tuple[str, ...]) -> None:
    assert urls_of(model) == urls
    source = source_of("m", model, Path("folder"))
    assert source.urls == urls
    assert (source.path is None) == bool(urls)


def test_a_remote_models_protocol_reaches_its_runtime() -> None:
    model = tree.Model(url="host:1", protocol=tree.Protocol.OIP)
    assert source_of("m", model, Path()).protocol == "oip"
    assert source_of("m", tree.Model(url="host:1"), Path()).protocol == "plain"


# --- runtime_for -------------------------------------------------------------------------


def source(path: str | None = None, runtime: str | None = None) -> ModelSource:
    file = None if path is None else Path(path)
    return ModelSource(name="m", folder=Path(), path=file, runtime=runtime)


@pytest.mark.parametrize(
    ("of", "runtime"),
    [
        (source("a.onnx"), open_onnx),
        (source("a.model", "onnx"), open_onnx),
        (source(None, "code:predict"), open_callable),
        (source("a.onnx", "code:predict"), open_callable),
        (ModelSource(name="m", folder=Path(), urls=("localhost:8000",)), open_remote),
    ],
)
def test_a_runtime_goes_by_the_specs_word_or_the_files_ending(
    of: ModelSource, runtime: object
) -> None:
    assert runtime_for(of) is runtime


@pytest.mark.parametrize(
    ("of", "where"),
    [
        (source("a.pkl"), "a.pkl"),
        (source("a"), "a"),
        (source("a.onnx", "sklearn"), "a.onnx"),
        (source(None, "onnx"), "onnx"),
        (source(None, "sklearn"), "sklearn"),
    ],
)
def test_no_runtime_opens_other_things(of: ModelSource, where: str) -> None:
    with pytest.raises(ModelFileError) as caught:
        runtime_for(of)
    assert str(caught.value) == (
        f"model m: {where}: no runtime opens this: give a .onnx file,"
        " `runtime: module:attribute`, or a `url`"
    )
