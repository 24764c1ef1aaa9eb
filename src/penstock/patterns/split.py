"""Shares the traffic between predictors by weight, and keeps each user on one of them.

              ┌── 60 % ──▶ svc
    request ──┤
              └── 40 % ──▶ rf

When to use it: an online A/B test, or a canary that gets 1 % and then more. The choice is a pure
function of experiment, key and weights: it is the same in every process, and wherever a request
meets the experiment. The key is the sticky field's value, else the request's seed.

On inner error: passes it through; no other arm is asked. Only users of an arm that is not ready
meet the fallback, until it is; nobody else moves.

On deadline and cancellation: passes both through; it does not wait for anything itself.

Hop: `split:ARM`; `split:ARM:no_key` where the sticky field is missing; `split:ARM:instead_of:OTHER`
where the fallback stands in. An error has it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from msgspec import Struct

from penstock.core.clock import Clock
from penstock.core.errors import NotReady, ServingError
from penstock.core.predictor import Predictor
from penstock.core.rendezvous import Odds, choose, seed_key, value_key
from penstock.core.trail import MODE, split_hop
from penstock.core.values import Hop, InferenceRequest, InferenceResponse


class Choice(Struct, frozen=True, gc=False):
    """Whose request it is.

    Attributes:
        arm: the name.
        keyed: by the sticky field's value, not by the seed.
    """

    arm: str
    keyed: bool


def chosen(odds: Sequence[Odds], sticky: str | None, request: InferenceRequest) -> Choice:
    """Choose an arm by the sticky field's value, or by the seed where there is none."""
    key = None if sticky is None else value_key(request.fields.get(sticky))
    if key is None:
        return Choice(choose(odds, seed_key(request.seed)), keyed=False)
    return Choice(choose(odds, key), keyed=True)


@final
class Split:
    """Asks one of several predictors.

    Args:
        arms: the predictors by name.
        odds: what the choice is made by: the experiment's name and the arms' weights.
        sticky: the request's field that keeps a user on an arm; None to go by the seed.
        fallback: the arm for users of an arm that is not ready.
        sources: the file of each model by the model's name, or what stands for it, for `mode`.
        clock: tells the time for the hop.
    """

    def __init__(
        self,
        *,
        arms: Mapping[str, Predictor],
        odds: Sequence[Odds],
        sticky: str | None,
        fallback: str,
        sources: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._arms = arms
        self._odds = odds
        self._sticky = sticky
        self._fallback = fallback
        self._sources = sources
        self._clock = clock

    def __repr__(self) -> str:
        return f"split: {{arms: [{', '.join(self._arms)}], sticky: {self._sticky or 'none'}}}"

    async def __call__(self, request: InferenceRequest, /) -> InferenceResponse:
        """Answer as the request's arm does; `mode` names the model that did."""
        started_s = self._clock.now_s()
        choice = chosen(self._odds, self._sticky, request)
        arm = choice.arm
        try:
            try:
                response = await self._arms[arm](request)
            except NotReady:
                if arm == self._fallback:
                    raise
                arm = self._fallback
                response = await self._arms[arm](request)
        except ServingError as error:
            error.trail = (self._hop(choice, arm, started_s), *error.trail)
            raise
        return InferenceResponse(
            response.kind,
            response.outputs,
            response.model,
            response.version,
            (self._hop(choice, arm, started_s), *response.trail),
            response.arms,
            {MODE: self._sources.get(response.model, arm), **response.fields},
        )

    def _hop(self, choice: Choice, arm: str, started_s: float) -> Hop:
        keyless = self._sticky is not None and not choice.keyed
        instead_of = "" if arm == choice.arm else choice.arm
        name = split_hop(arm, keyless=keyless, instead_of=instead_of)
        return Hop(name, started_s, self._clock.now_s() - started_s)
