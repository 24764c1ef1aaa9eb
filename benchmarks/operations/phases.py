"""What is done to the server while the load goes on, one phase each."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bench import REPOSITORY, MeasurementFailed
from benchmarks.load.fates import Fate
from benchmarks.operations import specs
from benchmarks.operations.load import SteadyLoad
from benchmarks.operations.served import Served
from benchmarks.operations.specs import ROUTE, Scores, Spec, Weights
from benchmarks.operations.verdict import (
    Outcome,
    Step,
    after_the_end,
    nothing_lost,
    right_answers,
)

SETTLE_S: Final = 0.5
"""Between two changes, so that each is seen in the answers."""

REST_S: Final = 1.0
CALM_MS: Final = 50.0
MAX_RESTS: Final = 20
"""Between two phases the load is left alone until its p99 is low again, or for so many spells."""

QUIET_S: Final = 10.0
PATIENCE_S: Final = 30.0
EXIT_S: Final = 30.0
AFTER_S: Final = 1.0
REASON_CHARACTERS: Final = 160


@dataclass(slots=True)
class Scene:
    """The server, its load, and what is right to answer now."""

    served: Served
    load: SteadyLoad
    alone: Mapping[str, Scores]
    spec: Spec
    weights: Weights
    connections: int

    def step(self, name: str, began_s: float, ended_s: float) -> Step:
        """What is right from now on."""
        return Step(name, self.weights.scores(self.alone), began_s, ended_s)

    def now(self) -> Step:
        """What is right at the start of a phase."""
        return Step("what was served before", self.weights.scores(self.alone))


def quiet(scene: Scene) -> Outcome:
    """Nothing happens: what the others are to be read beside."""
    scene.load.begin(name := "nothing happens")
    time.sleep(QUIET_S)
    phase = scene.load.end(name)
    found = right_answers(phase, [scene.now()])
    return Outcome(phase, [*nothing_lost(phase), *found.wrong])


def rest(scene: Scene) -> tuple[list[str], list[str]]:
    """Lets the load go on until what has piled up is answered.

    Returns:
        What was lost meanwhile, and notes on what the machine could not bear.
    """
    lost: list[str] = []
    unsent = 0
    for number in range(1, MAX_RESTS + 1):
        scene.load.begin(name := f"rest {number} at {time.monotonic()}")
        time.sleep(REST_S)
        phase = scene.load.end(name)
        unsent += phase.fates.pop(Fate.UNSENT, 0)
        lost += [f"{one}, before it began" for one in nothing_lost(phase)]
        if phase.p99_ms < CALM_MS:
            break
    else:
        lost.append(
            f"before it began, p99 was still {phase.p99_ms:.0f} ms: the machine is too busy"
        )
    return lost, [f"before it began, {unsent} requests were {Fate.UNSENT}"] if unsent else []


def changes(
    scene: Scene, name: str, count: int, change: Callable[[int], tuple[float, float]]
) -> Outcome:
    """Changes the weights again and again; each answer has to be a weight's that is served."""
    scene.load.begin(name)
    steps = [scene.now()]
    for number in range(1, count + 1):
        time.sleep(SETTLE_S)
        began_s, ended_s = change(number)
        steps.append(scene.step(f"change {number}", began_s, ended_s))
    time.sleep(SETTLE_S)
    phase = scene.load.end(name)
    found = right_answers(phase, steps)
    took_ms = [(step.ended_s - step.began_s) * 1e3 for step in steps[1:]]
    wrong = [*nothing_lost(phase), *found.wrong]
    return Outcome(phase, wrong, (), took_ms, found.side_by_side_ms)


def reloads(scene: Scene, count: int) -> Outcome:
    """Rewrites the file, and has it read by `penstock reload` and by SIGHUP in turn."""

    def change(number: int) -> tuple[float, float]:
        scene.weights = specs.in_file(number)
        scene.spec = specs.spec(scene.weights)
        content = specs.text(scene.spec)
        if number % 2:
            scene.served.write(content)
            done = scene.served.verb("reload")
            if done.status:
                message = f"penstock reload failed: {done.output}"
                raise MeasurementFailed(message)
            return done.began_s, done.ended_s
        scene.served.write(content)
        sent_s = scene.served.hang_up()
        return sent_s, scene.served.wait_for_file(content, PATIENCE_S)

    return changes(scene, f"{count} reloads", count, change)


def weight_changes(scene: Scene, count: int) -> Outcome:
    """Sets both arms' weights at once, again and again."""

    def change(number: int) -> tuple[float, float]:
        scene.weights = specs.when_set(number)
        done = scene.served.verb("set", *scene.weights.setters())
        if done.status:
            message = f"penstock set failed: {done.output}"
            raise MeasurementFailed(message)
        return done.began_s, done.ended_s

    return changes(scene, f"{count} weight changes", count, change)


def bad_specs(scene: Scene, count: int) -> Outcome:
    """Breaks the file in ever new ways; each has to be refused, and nothing may change."""
    scene.load.begin(name := f"{count} bad specs")
    steps = [scene.now()]
    said: dict[str, str] = {}
    wrong = []
    for what, broken in list(specs.BROKEN.items())[:count]:
        scene.served.write(broken(scene.spec))
        refused = scene.served.verb("reload")
        said[what] = reason(refused.output, scene.served.folder)
        if refused.status == 0:
            wrong.append(f"{what} was accepted: {refused.output}")
        elif not refused.output:
            wrong.append(f"{what} was refused without a reason")
        scene.served.write(specs.text(scene.spec))
        restored = scene.served.verb("reload")
        if restored.status:
            wrong.append(f"the good file was refused after {what}: {restored.output}")
        time.sleep(SETTLE_S)
    phase = scene.load.end(name)
    wrong += [*nothing_lost(phase), *right_answers(phase, steps).wrong]
    return Outcome(phase, wrong, said=said)


def reason(output: str, folder: Path) -> str:
    """A refusal's reasons as one line of a table, without the folders of this machine."""
    short = output.replace(f"{folder}/", "").replace(f"{REPOSITORY}/", "")
    line = " ".join(short.split()).replace("|", "\\|")
    return line if len(line) <= REASON_CHARACTERS else line[: REASON_CHARACTERS - 3] + "..."


def switched(scene: Scene) -> Outcome:
    """Switches the route off and on again: meanwhile it answers 503 `switched_off`."""
    scene.load.begin(name := "a route off and on")
    time.sleep(SETTLE_S)
    off = scene.served.verb("switch", ROUTE, "off")
    time.sleep(SETTLE_S)
    on = scene.served.verb("switch", ROUTE, "on")
    time.sleep(SETTLE_S)
    phase = scene.load.end(name)
    wrong = [f"penstock switch failed: {one.output}" for one in (off, on) if one.status]
    wrong += right_answers(phase, [scene.now()]).wrong
    wrong += [f"{count} x {fate}" for fate, count in phase.fates.items()]
    wrong += [
        f"{seen.count} x {text}"
        for text, seen in phase.refusals.items()
        if text != "503 switched_off"
    ]
    refused = phase.refusals.get("503 switched_off")
    if refused is None:
        wrong.append("nothing was refused while the route was off")
    elif refused.first_ended_s < off.began_s or refused.last_sent_s > on.ended_s:
        wrong.append("something was refused while the route was on")
    return Outcome(phase, wrong, (), [off.took_ms, on.took_ms])


def terminated(scene: Scene) -> Outcome:
    """Ends the server by SIGTERM while the load goes on, and a little longer."""
    scene.load.begin(name := "SIGTERM")
    time.sleep(AFTER_S)
    told_s = time.monotonic()
    scene.served.process.send_signal(signal.SIGTERM)
    wrong: list[str] = []
    try:
        status = scene.served.process.wait(EXIT_S)
        if status:
            wrong.append(f"the server ended with status {status}")
    except subprocess.TimeoutExpired:
        wrong.append(f"the server had not ended {EXIT_S:.0f} s after SIGTERM")
    ended_s = time.monotonic()
    time.sleep(AFTER_S)
    phase = scene.load.finish(name)
    lost, notes = after_the_end(phase, told_s, scene.connections)
    wrong += [*lost, *right_answers(phase, [scene.now()]).wrong]
    last_s = max((seen.last_ended_s for seen in phase.answers.values()), default=told_s)
    notes.append(
        f"the last answer came {max(0.0, last_s - told_s) * 1e3:.0f} ms after the signal, the end "
        f"of the process after {(ended_s - told_s) * 1e3:.0f} ms"
    )
    return Outcome(phase, wrong, notes)
