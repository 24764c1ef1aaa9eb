"""What the child processes of `test_child.py` serve. Imported there by its file's own name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def obeying(*args: object) -> Callable[[Any], Any]:
    """Serve calls of the form `[command, argument]`."""

    def serve(payload: Any) -> Any:  # noqa: ANN401 - as the protocol has it
        command, argument = payload
        match command:
            case "echo":
                return argument
            case "args":
                return list(args)
            case "pid":
                return os.getpid()
            case "niceness":
                return os.nice(0)
            case "group":
                return os.getpgid(0)
            case "path":
                return sys.path
            case "fail":
                raise ValueError(argument)
            case "fail in":  # bytes that are no text, as a file's name may be
                raise ValueError(os.fsdecode(argument))
            case "end":
                sys.exit(argument)
            case "unpackable":
                return object()
            case "wait for":  # until something is written to the named pipe
                with Path(argument).open("rb", buffering=0) as pipe:
                    return pipe.read(1)
            case _:
                raise AssertionError(command)

    return serve


def failing() -> Callable[[Any], Any]:
    raise RuntimeError("the model is broken")
