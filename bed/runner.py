# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Plays scenarios in guests and says what came of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import sys
import threading
from typing import Any

from bed import console, image, machine, payload
from bed.guest.scenario import Scenario

# Beyond the scenario's own guest seconds: the boot, and a busy host.
BOOT_ALLOWANCE_S = 90.0
# Lines that a sound guest prints, each with the reason it is no alarm.
ALWAYS_ALLOWED: tuple[console.Allowed, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the summary and results.json say about one scenario.

    :ivar code: names the code that was played, by its hash, and with what
        parameters.
    """
    name: str
    item: str
    passed: bool
    reason: str
    guest_s: float | None
    boot_s: float | None
    host_s: float
    worst_stall_s: float | None
    figures: Mapping[str, float | str]
    log_dir: str
    code: str

    def line(self) -> str:
        verdict = 'passed' if self.passed else 'FAILED'
        return (f'{self.name:<44} {verdict}  {_seconds(self.guest_s)}'
                f'  worst stall {_seconds(self.worst_stall_s)}')


def _seconds(value: float | None) -> str:
    return '     - s' if value is None else f'{value:6.1f} s'


# Two scenarios of one run may need the same image.
_BUILDING = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every guest of one run shares."""
    image: image.Image
    payload: pathlib.Path
    out_dir: pathlib.Path

    @classmethod
    def prepare(cls, project_dir: pathlib.Path) -> 'Ground':
        image.ensure_host_packages()
        out_dir = project_dir / 'build' / 'bed'
        out_dir.mkdir(parents=True, exist_ok=True)
        built = image.ensure(image.recipe(project_dir))
        machine.accelerator(built)
        return cls(image=built, out_dir=out_dir,
                   payload=payload.ensure(project_dir, out_dir))


def image_for(chosen: Scenario, ground: Ground) -> image.Image:
    """The usual image, or one with what a scenario needs beside it."""
    if not chosen.packages:
        return ground.image
    with _BUILDING:
        return image.ensure(image.recipe(extra_packages=chosen.packages))


def play(chosen: Scenario, ground: Ground, params: Mapping[str, str],
         on_event: Callable[[machine.Event], None]) -> Result:
    """Plays one scenario in a guest of its own."""
    log_dir = ground.out_dir / chosen.name
    with _alone(ground.out_dir / f'{chosen.name}.lock'):
        return _play(chosen, ground, params, on_event, log_dir)


@contextlib.contextmanager
def _alone(lock: pathlib.Path) -> Iterator[None]:
    """Two drivers in one tree must not share a scenario's directory."""
    with lock.open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _play(chosen: Scenario, ground: Ground, params: Mapping[str, str],
          on_event: Callable[[machine.Event], None],
          log_dir: pathlib.Path) -> Result:
    patience = float(params.get('patience', '1'))
    outcome = machine.run(
        machine.Order(scenario=chosen.name, mode=chosen.mode, params=params,
                      timeout_s=(chosen.timeout_s + BOOT_ALLOWANCE_S)
                      * patience,
                      memory_mib=chosen.memory_mib),
        image_for(chosen, ground), ground.payload, log_dir, on_event)
    kernel_log = _keep_artifacts(outcome, log_dir)
    told: dict[str, Any] = outcome.last('result') or {}
    alarms = console.alarms(
        [*outcome.console.splitlines(), *kernel_log.splitlines()],
        (*ALWAYS_ALLOWED, *chosen.allow_console))
    reason = _reason(told, outcome, alarms)
    return Result(
        name=chosen.name, item=chosen.item, passed=not reason, reason=reason,
        guest_s=told.get('guest_s'), boot_s=told.get('boot_s'),
        host_s=round(outcome.host_s, 1), log_dir=str(log_dir),
        worst_stall_s=told.get('worst_stall_s'),
        figures=told.get('figures', {}), code=_code(ground, params))


def _reason(told: Mapping[str, Any], outcome: machine.Outcome,
            alarms: Sequence[str]) -> str:
    if not told:
        how = ('was interrupted, with its driver' if outcome.interrupted
               else 'gave no sign before the deadline' if outcome.timed_out
               else 'ended without a result')
        said = [line for line in outcome.console.splitlines() if line]
        tail = ' / '.join(said[-4:])
        return f'the guest {how}; its console ends: {tail}'
    if told['verdict'] != 'passed':
        return str(told['reason'])
    if alarms:
        return f'the console is not clean: {" / ".join(alarms[:3])}'
    return ''


def _keep_artifacts(outcome: machine.Outcome, log_dir: pathlib.Path) -> str:
    kernel_log = ''
    for event in outcome.events:
        if event.get('event') == 'artifact':
            name = pathlib.PurePath(str(event['name'])).name
            (log_dir / name).write_text(str(event['text']))
            if name == 'kernel.log':
                kernel_log = str(event['text'])
    return kernel_log


def play_all(chosen: Sequence[Scenario], ground: Ground,
             params: Mapping[str, str], *, jobs: int = 1,
             live: bool = False) -> list[Result]:
    """Plays scenarios, several at once if told so, and prints the lines."""
    results: list[Result] = []
    printing = threading.Lock()

    def one(item: Scenario) -> Result:
        result = play(item, ground, params, tell if live else lambda _: None)
        with printing:
            _keep(result, ground)
        return result

    def tell(event: machine.Event) -> None:
        text = describe(event)
        if text:
            with printing:
                print(text, flush=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(one, item) for item in chosen]
        try:
            for future in waiting:
                result = future.result()
                results.append(result)
                with printing:
                    _print(result)
        except BaseException:
            machine.give_up.set()
            for future in waiting:
                future.cancel()
            raise
    passed = sum(result.passed for result in results)
    print(f'scenarios: {passed} passed, {len(results) - passed} failed',
          flush=True)
    return results


def describe(event: machine.Event) -> str:
    """One line of a live show; empty for what a reader need not see."""
    at = f'{event.get("at_s", 0):8.2f} s  '
    match event.get('event'):
        case 'note':
            return at + str(event['text'])
        case 'check':
            sign = 'ok' if event['holds'] else 'NOT TRUE'
            return f'{at}{sign}: {event["sentence"]}'
        case 'figure':
            return f'{"":12}{event["name"]} = {event["value"]}'
        case _:
            return ''


def _print(result: Result) -> None:
    print(result.line(), flush=True)
    if not result.passed:
        print(f'    {result.reason}\n    see {result.log_dir}', flush=True)


def passed_before(ground: Ground,
                  params: Mapping[str, str]) -> frozenset[str]:
    """Scenarios that have passed with this very code, by name."""
    return frozenset(
        name for name, entry in _known(_results(ground)).items()
        if entry.get('passed') is True
        and entry.get('code') == _code(ground, params))


def _code(ground: Ground, params: Mapping[str, str]) -> str:
    """Patience changes nothing that a scenario claims."""
    return ' '.join((ground.payload.stem, *(
        f'{key}={value}' for key, value in sorted(params.items())
        if key != 'patience')))


def _results(ground: Ground) -> pathlib.Path:
    return ground.out_dir / 'results.json'


def _known(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    try:
        return {entry['name']: dict(entry)
                for entry in json.loads(path.read_text())}
    except (OSError, ValueError, LookupError, TypeError):
        return {}       # somebody else's: it is written anew


def _keep(result: Result, ground: Ground) -> None:
    """Merges with what is there, so that a partial run loses nothing."""
    path = _results(ground)
    known = _known(path) | {result.name: dataclasses.asdict(result)}
    partial = path.with_suffix(f'.partial-{os.getpid()}')
    partial.write_text(json.dumps(sorted(known.values(),
                                         key=lambda e: str(e['name'])),
                                  indent=2) + '\n')
    os.replace(partial, path)


def complain(text: str) -> int:
    print(f'bed: {text}', file=sys.stderr)
    return 2
