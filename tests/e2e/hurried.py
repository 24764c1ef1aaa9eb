"""`penstock`, but with no time for requests once it is told to stop.

python -P hurried.py serve ...      as `penstock serve ...`; so are the workers it starts
python -P hurried.py --worker ...   as one of those
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from penstock.core import stop

stop.DRAIN_S = 0.0  # type: ignore[misc]  # before anybody else knows it


def main(arguments: Sequence[str]) -> int:
    """Do as `penstock` does, or as a worker of it."""
    from penstock.cli import main, serve, worker

    serve.WORKER = (sys.executable, "-P", __file__, "--worker")  # type: ignore[misc]
    name, *others = arguments
    return worker.main(others) if name == "--worker" else main.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
