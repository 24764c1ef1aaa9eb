"""What a trail says of a request: which arms were chosen for it.

A split's hop is `split:ARM`, with what else there is to say behind it: `split:ARM:no_key`,
`split:ARM:instead_of:OTHER`. Whoever wants to know an answer's arm reads it here.
"""

from __future__ import annotations

from typing import Final

from penstock.core.values import InferenceResponse, Trail

SPLIT: Final = "split"
MODE: Final = "mode"
"""The field that a split adds to an answer; only then was an arm chosen for the request."""

NO_KEY: Final = "no_key"
INSTEAD_OF: Final = "instead_of"

_SPLIT: Final = f"{SPLIT}:"
_FAN_OUT: Final = "fan_out"
_LEAVES: Final = ("model:", "remote:", "constant")
"""How the hop of what answers begins. What stands behind it is of models beside the answer."""


def split_hop(arm: str, *, keyless: bool = False, instead_of: str = "") -> str:
    """Return the name of a split's hop.

    Args:
        arm: the one that was asked.
        keyless: the request lacks the field that keeps users on their arm.
        instead_of: the arm that it belongs to and that is not ready; empty where it is `arm`.
    """
    name = f"{_SPLIT}{arm}:{NO_KEY}" if keyless else f"{_SPLIT}{arm}"
    return f"{name}:{INSTEAD_OF}:{instead_of}" if instead_of else name


def arm_of(trail: Trail) -> str:
    """Return the arm that was asked: `ARM`, `ARM/ARM` where splits stand within one another.

    It is empty where there is no split. What a fan-out's arms chose, each for itself, is no choice
    for the request; nor is what was chosen to tell how unusual its input is.
    """
    arms = []
    for hop in trail:
        name = hop.name
        if name.startswith(_SPLIT):
            arms.append(name.split(":", 2)[1])
        elif name == _FAN_OUT or name.startswith(_LEAVES):
            break
    return "/".join(arms)


def answered_arm(response: InferenceResponse) -> str:
    """Return the arm that answered, as `arm_of`; empty where no split says that one was chosen."""
    return arm_of(response.trail) if MODE in response.fields else ""
