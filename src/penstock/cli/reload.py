"""`penstock reload`: the file read anew, models that changed opened, without a request lost."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from penstock.cli.control import ask, say_changed


def reload(options: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Have the server that runs read its file anew.

    Raises:
        NoServer, SeveralServers: it is not clear which server is meant.
        ChangeRefused: what the file says now cannot be served; with all reasons.
        Unavailable: it does not answer.
    """
    return say_changed(ask(options, environment, lambda server: server.reload()), "reloaded")
