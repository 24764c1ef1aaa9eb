"""The specs that Penstock serves in the benchmarks, written where its server can read them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.calls import IRIS_ROW
from benchmarks.constants import predictions
from benchmarks.models import ARMS, MODELS, iris
from benchmarks.server import HOST

Spec = dict[str, Any]

HASTY_S: Final = 1
"""After so long a copy for the hasty shadow is given up; the next one then tries its luck."""

IRIS_MODEL: Final = {
    "path": str(iris("svc")),
    "labels": str(MODELS / "iris_labels.json"),
    "sample": [IRIS_ROW],
}


def write_spec(folder: Path, name: str, spec: Spec) -> Path:
    """Writes a spec as JSON, which YAML 1.2 reads."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(spec, indent=2))
    return path


def single_spec(folder: Path) -> Path:
    """One iris model behind the shortest route."""
    spec = {"models": {"svc": IRIS_MODEL}, "routes": {"iris": "svc"}, "default": "iris"}
    return write_spec(folder, "single", spec)


def split_spec(folder: Path) -> Path:
    """The iris model on both sides of a split: by the seed, and by a header."""
    arms = {"a": {"weight": 60, "use": "svc"}, "b": {"weight": 40, "use": "svc"}}
    routes = {
        "by-seed": [{"split": {"arms": arms}}],
        "by-user": [{"split": {"arms": arms, "sticky": "header:x-user-id"}}],
    }
    return write_spec(folder, "split", {"models": {"svc": IRIS_MODEL}, "routes": routes})


def logged_spec(folder: Path, *, scored: bool = False) -> Path:
    """One iris model behind a prediction log, with an outlier score or without."""
    models: Spec = {"svc": IRIS_MODEL}
    layer: Spec = {}
    if scored:
        models["ocs"] = {"path": str(iris("ocs")), "sample": [IRIS_ROW]}
        layer["outlier"] = "ocs"
    routes = {"iris": [{"prediction_log": layer}, "svc"]}
    spec = {"models": models, "routes": routes, "default": "iris"}
    return write_spec(folder, "scored" if scored else "logged", spec)


def fan_out_spec(folder: Path) -> Path:
    """Three one-versus-rest models behind one fan-out."""
    models = {arm: {"path": str(iris(arm)), "sample": [IRIS_ROW]} for arm in ARMS}
    fan_out = {"fan_out": {"positive": 0, "arms": {arm: arm for arm in ARMS}}}
    spec = {"models": models, "routes": {"iris": [fan_out]}, "default": "iris"}
    return write_spec(folder, "fan_out", spec)


def remote_spec(folder: Path, ports: Mapping[str, int]) -> Path:
    """Remote models behind a route, a fan-out if there are several; `fixed` answers constants."""
    fixed = {
        name: {"constant": {"answer": answer["prediction"]}}
        for name, answer in predictions(tuple(ports)).items()
    }
    remote = {name: name for name in ports}
    spec = {
        "models": {name: {"url": f"{HOST}:{port}"} for name, port in ports.items()},
        "routes": {"remote": together(remote), "fixed": together(fixed)},
        "default": "remote",
    }
    return write_spec(folder, f"remote-{len(ports)}", spec)


def shadow_spec(folder: Path, patient_port: int, hasty_port: int) -> Path:
    """One model alone, and beside each of the shadows that are compared."""
    forest = {"path": str(iris("rf")), "labels": str(MODELS / "iris_labels.json")}
    models = {
        "patient": {"url": f"{HOST}:{patient_port}"},
        "hasty": {"url": f"{HOST}:{hasty_port}"},
        "inline": {**forest, "execution": "inline"},
        "thread": {**forest, "execution": "thread"},
    }
    within = {"timeout": {"timeout_s": HASTY_S}}
    shadows = {name: [within, name] if name == "hasty" else name for name in models}
    routes: dict[str, Any] = {
        f"with-{name}": [{"mirror": {"shadow": shadow}}, "primary"]
        for name, shadow in shadows.items()
    }
    spec = {
        "models": {"primary": IRIS_MODEL, **models},
        "routes": {"alone": "primary", **routes},
        "default": "alone",
    }
    return write_spec(folder, "shadow", spec)


def together(targets: Mapping[str, Any]) -> list[Any]:
    """A route: the only target, or a fan-out of all."""
    if len(targets) == 1:
        return list(targets.values())
    return [{"fan_out": {"positive": 0, "arms": {n: {"use": use} for n, use in targets.items()}}}]


def model_spec(folder: Path, model: Path) -> Path:
    """One model, known by its path only."""
    name = model.stem
    spec = {"models": {name: {"path": str(model)}}, "routes": {"route": name}, "default": "route"}
    return write_spec(folder, name, spec)
