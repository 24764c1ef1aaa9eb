"""The documentation's pages as blocks, and the workshop in which the blocks are run.

What a fence is marked with says what becomes of it:

- `yaml`: a spec, or a part of one, is read, decoded and checked, its models opened.
- `python`: is run, as a program of its own.
- `sh`, `console`: each command is run; in `console`, a command is a line that begins with `$ `, and
  what follows it is what it must print. `penstock serve` and `uvicorn` go on running in the
  background, and `curl` meets the last one started on the page, or the demo.

A comment right above a block says more: `<!-- file: NAME -->` puts it into a file, which later
blocks find; `<!-- not run: REASON -->` leaves it alone, and so do the marks of the worked example
in CONTRIBUTING.md, which has a test of its own. `...` in what is shown stands for anything.

    python -m tests.docs.pages README.md      # writes what the commands print into the page
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from penstock.gateway.serving import open_served, read_served
from penstock.spec.nodes import Table
from penstock.spec.problems import Problem
from penstock.spec.read import read_text

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = (*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")))
DEMO: Final = "examples/iris.yaml"
RUN: Final = frozenset({"yaml", "python", "bash", "sh", "console"})

_FENCE: Final = re.compile(
    r"(?:^<!-- (?P<key>[a-z ]+): (?P<value>[^\n]+?) -->\n)?"
    r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_SERVER: Final = re.compile(r"^(\w+=\S+ )*(penstock serve|uvicorn) ")
_DEMO_MODELS: Final = """
models:
  svc: {path: models/iris_svc.onnx, labels: models/iris_labels.json}
  rf: {path: models/iris_rf.onnx, labels: models/iris_labels.json}
  setosa: {path: models/iris_setosa.onnx}
  versicolor: {path: models/iris_versicolor.onnx}
  virginica: {path: models/iris_virginica.onnx}
"""
_START_S: Final = 30.0
_PORT: Final = "8000"


class Block(Struct, frozen=True):
    """A fenced block.

    Attributes:
        language: what the fence is marked with.
        text: all within the fence.
        key: of the comment above it: `file`, `not run`, another, or nothing.
        value: of that comment.
        line: of the page.
        start: where the text begins in the page.
    """

    language: str
    text: str
    key: str
    value: str
    line: int
    start: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [
        Block(
            found["language"],
            found["text"],
            found["key"] or "",
            found["value"] or "",
            page.count("\n", 0, found.start("text")),
            found.start("text"),
        )
        for found in _FENCE.finditer(page)
    ]


class Command(Struct, frozen=True):
    """One command of a block, and what is shown as printed by it."""

    line: str
    shown: str


def is_run(block: Block) -> bool:
    """Tell whether a block is run with its page; the worked example has a test of its own."""
    if block.key == "file":
        return not block.value.startswith(("src/", "tests/"))
    return not block.key


def commands(block: Block) -> list[Command]:
    """The commands of a `sh` or `console` block."""
    if block.language == "console":
        _, *pieces = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
        return [_command(piece) for piece in pieces]
    lines = block.text.replace("\\\n", " ").splitlines()
    return [Command(line, "") for line in lines if line and not line.startswith("#")]


def _command(piece: str) -> Command:
    line, _, shown = piece.replace("\\\n", " ").partition("\n")
    return Command(line, shown)


# --- specs -------------------------------------------------------------------------------


def completed(text: str) -> str:
    """A spec made of a part of one: what is missing is the demo's, or the shortest there is."""
    top = read_text(text, {}).root
    if top is None:  # a list: a route
        return f"{_DEMO_MODELS}\nroutes:\n  shown:\n{_indented(text, 4)}"
    given = set(top.entries)
    if not given & {"models", "routes", "limits", "default"}:  # a target
        return f"{_DEMO_MODELS}\nroutes:\n  shown:\n{_indented(text, 4)}"
    if "models" not in given:
        text = f"{_DEMO_MODELS}\n{text}"
    if "routes" not in given:
        models = top.entries["models"].value if "models" in given else None
        first = next(iter(models.entries)) if isinstance(models, Table) else "svc"
        text = f"{text}\nroutes: {{shown: {first}}}\n"
    return text


def _indented(text: str, by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in text.splitlines())


def check_spec(path: Path) -> list[Problem]:
    """Read, decode and check a spec, open its models; return the warnings that are not of use.

    In a part of a spec, what it does not use is the demo's.
    """
    if "runtime:" in path.read_text(encoding="utf-8"):  # its modules belong in a process of its own
        subprocess.run(
            ["penstock", "check", path.name],
            cwd=path.parent,
            env=_environment(path.parent),
            check=True,
        )
        return []

    async def opened() -> list[Problem]:
        found: list[Problem] = []
        async with open_served(read_served(path, {}), warn=found.append):
            return found

    return [one for one in asyncio.run(opened()) if "no route uses" not in str(one)]


# --- the workshop ------------------------------------------------------------------------


class Mismatch(Exception):
    """A command printed something else than the page shows."""


class Server:
    """A server in the background, on a port of its own."""

    def __init__(self, command: str, folder: Path) -> None:
        self.port = _free_port()
        self._text = ""
        self._ended = False
        self._told = threading.Condition()
        self._process = subprocess.Popen(  # noqa: S602 - a line of our own documentation
            f"exec {command} --port {self.port}",
            shell=True,
            cwd=folder,
            env=_environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._wait("\ntry\n  curl " if "penstock" in command else "Uvicorn running on")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._told:
                self._text += line.decode()
                self._told.notify_all()
        with self._told:
            self._ended = True
            self._told.notify_all()

    def _wait(self, awaited: str) -> None:
        """Wait for what a server prints when it listens."""
        with self._told:
            self._told.wait_for(lambda: awaited in self._text or self._ended, _START_S)
            started = awaited in self._text
        if not started:
            self.close()
            raise Mismatch(f"the server did not start: {self.printed()}")

    def printed(self) -> str:
        """What it has printed so far, as if its port were the usual one."""
        with self._told:
            return self._text.replace(str(self.port), _PORT)

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Workshop:
    """A folder with the demo's models, in which a page's blocks are run from top to bottom.

    Args:
        folder: an empty one.
        demo_port: where the demo is served.
    """

    def __init__(self, folder: Path, demo_port: int) -> None:
        self._folder = folder
        self._demo_port = demo_port
        self._server: Server | None = None
        for name in ("models", "examples"):
            (folder / name).symlink_to(ROOT / name)

    def run(self, block: Block) -> str:
        """Run a block; return its text with what its commands print."""
        if not is_run(block):
            return block.text
        if block.key == "file":
            path = self._folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        match block.language:
            case "yaml":
                self._spec(block)
            case "python":
                self._python(block)
            case "sh" | "bash" | "console":
                return self._commands(block)
            case _:
                pass
        return block.text

    def _spec(self, block: Block) -> None:
        name = block.value if block.key == "file" else f"block-{block.line}.yaml"
        path = self._folder / name
        path.write_text(completed(block.text), encoding="utf-8")
        warnings = check_spec(path)
        if warnings:
            raise Mismatch("\n".join(map(str, warnings)))

    def _python(self, block: Block) -> None:
        name = block.value if block.key == "file" else f"block_{block.line}.py"
        path = self._folder / name
        path.write_text(block.text, encoding="utf-8")
        self._shell(f"{shlex.quote(sys.executable)} -W error {shlex.quote(name)}")

    def _commands(self, block: Block) -> str:
        made = []
        for command in commands(block):
            printed = self._printed(command)
            made.append(f"$ {command.line}\n{printed if command.shown else ''}")
            if command.shown and not agree(command.shown, printed):
                difference = f"$ {command.line}\nshown: {command.shown}\nprinted: {printed}"
                raise Mismatch(difference, printed)
        return "".join(made) if block.language == "console" else block.text

    def _printed(self, command: Command) -> str:
        if _SERVER.match(command.line):
            self.close()
            self._server = Server(command.line, self._folder)
            return self._server.printed()
        port = self._demo_port if self._server is None else self._server.port
        line = command.line.replace(f":{_PORT}", f":{port}")
        printed = self._shell(line).replace(f":{port}", f":{_PORT}")
        return printed if printed.endswith("\n") or not printed else f"{printed}\n"

    def _shell(self, line: str) -> str:
        done = subprocess.run(  # noqa: S602 - a line of our own documentation
            line,
            shell=True,
            cwd=self._folder,
            env=_environment(self._folder),
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
        )
        if done.returncode not in (0, 1):
            raise Mismatch(f"$ {line}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def close(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.close()
            self._server = None


def _environment(folder: Path) -> Mapping[str, str]:
    """What a command sees; the servers that it can find are those of its own folder."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", ""),
        "COLUMNS": "88",
        "XDG_STATE_HOME": str(folder / ".state"),
        "PENSTOCK_ADMIN_TOKEN": "open-sesame",
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


# --- what is shown, and what is printed --------------------------------------------------


def agree(shown: str, printed: str) -> bool:
    """Tell whether a command printed what the page shows.

    Numbers may differ in the last digits of a float32: another processor rounds otherwise.
    """
    try:
        return _alike(json.loads(shown), json.loads(printed))
    except ValueError:
        pattern = re.escape(shown.strip()).replace(re.escape("..."), ".*")
        return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def _alike(shown: Any, printed: Any) -> bool:  # noqa: ANN401 - any JSON
    if shown == "...":
        return True
    if isinstance(shown, float) and isinstance(printed, float):
        return math.isclose(shown, printed, rel_tol=1e-6, abs_tol=1e-7)
    if type(shown) is not type(printed):
        return False
    if isinstance(shown, dict):
        return list(shown) == list(printed) and all(_alike(v, printed[k]) for k, v in shown.items())
    if isinstance(shown, list):
        return len(shown) == len(printed) and all(map(_alike, shown, printed))
    return bool(shown == printed)


# --- renewing a page ---------------------------------------------------------------------


def renewed(page: str, folder: Path, demo_port: int) -> str:
    """The text of a page with what its commands print."""
    made, at = [], 0
    workshop = _Renewing(folder, demo_port)
    try:
        for block in blocks(page):
            made += [page[at : block.start], workshop.run(block)]
            at = block.start + len(block.text)
    finally:
        workshop.close()
    return "".join((*made, page[at:]))


class _Renewing(Workshop):
    def _commands(self, block: Block) -> str:
        if block.language != "console":
            return block.text
        return "".join(self._renewed(command) for command in commands(block))

    def _renewed(self, command: Command) -> str:
        printed = self._printed(command)
        kept = not command.shown or agree(command.shown, printed)
        return f"$ {command.line}\n{command.shown if kept else printed}"


def serving_demo(folder: Path) -> Server:
    """The demo, served."""
    for name in ("models", "examples"):
        (folder / name).symlink_to(ROOT / name)
    return Server(f"penstock serve {DEMO}", folder)


def _main(names: list[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as demo_folder:
        demo = serving_demo(Path(demo_folder))
        try:
            for name in names:
                page = Path(name)
                with tempfile.TemporaryDirectory() as folder:
                    text = renewed(page.read_text(encoding="utf-8"), Path(folder), demo.port)
                page.write_text(text, encoding="utf-8")
                yield f"{name} written"
        finally:
            demo.close()


if __name__ == "__main__":
    for said in _main(sys.argv[1:]):
        sys.stdout.write(f"{said}\n")
