"""A mirror in front of a shadow that is a process of its own: it freezes, and is let go live."""

from __future__ import annotations

import contextlib
import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.e2e.process import Serving, as_json, serving
from tests.gateway.opening import EXAMPLE, ROOT

ROW: Final = b'{"data":[[5.1,3.5,1.4,0.2]]}'
AT: Final = "routes.iris[0].mirror"


class Mirrored:
    """A gateway with a primary of its own, and its remote shadow."""

    def __init__(self, gateway: Serving, shadow: Serving) -> None:
        self.gateway = gateway
        self.shadow = shadow

    def detail(self) -> Any:  # noqa: ANN401 - any JSON
        (worker,) = as_json(self.gateway.ask("GET", "/health/detail"))["workers"]
        return worker

    def copies(self) -> Any:  # noqa: ANN401 - any JSON
        return self.detail()["shadows"][AT]

    def asked(self, path: str = "/predict") -> Any:  # noqa: ANN401 - any JSON
        answer = self.gateway.ask("POST", path, ROW)
        assert answer.status == 200, answer.content
        return as_json(answer)


@contextlib.contextmanager
def mirrored(folder: Path) -> Iterator[Mirrored]:
    spec = folder / "spec.yaml"
    with serving(EXAMPLE, "--route", "rf") as shadow:
        spec.write_text(
            textwrap.dedent(f"""
                models:
                  svc: {{path: {ROOT}/models/iris_svc.onnx}}
                  rf: {{url: "127.0.0.1:{shadow.port}"}}
                routes:
                  iris: [{{mirror: {{shadow: rf, max_in_flight: 2, max_queued: 3}}}}, svc]
                limits: {{timeout_s: 1}}
            """)
        )
        with serving(spec) as gateway:
            it = Mirrored(gateway, shadow)
            while not it.detail()["models"]["rf"]["known"]:
                pass
            yield it


def test_a_shadow_that_freezes_is_bounded_and_nobody_notices(tmp_path: Path) -> None:
    with mirrored(tmp_path) as it:
        answer = it.asked()
        while it.copies()["running"]:
            pass
        it.shadow.process.send_signal(signal.SIGSTOP)
        assert all(it.asked() == answer for _ in range(60))
        copies, pool = it.copies(), it.detail()["models"]["rf"]["pool"]
        assert copies["running"] <= 2
        assert copies["waiting"] <= 3
        assert pool["open"] <= 3  # one of them asks whether it is back
        assert copies["dropped"]["full"] > 30
        assert it.gateway.stop() == 0
        it.shadow.process.send_signal(signal.SIGCONT)


def test_the_share_is_changed_and_the_shadow_switched_off_while_it_serves(tmp_path: Path) -> None:
    with mirrored(tmp_path) as it:
        it.asked()
        while not it.copies()["asked"]:
            pass
        assert it.gateway.command("set", "iris/mirror", "percent=0").returncode == 0
        it.asked()
        assert it.copies()["asked"] == 0
        assert it.gateway.command("set", "iris/mirror", "percent=100").returncode == 0
        it.asked()
        while not it.copies()["asked"]:
            pass
        assert it.gateway.command("switch", "iris/mirror", "off").returncode == 0
        it.asked()
        assert it.detail()["shadows"] == {}
        said = it.gateway.command("switch", "iris/mirror", "on").stderr
        assert "state is observe or off" in said
