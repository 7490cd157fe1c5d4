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
"""The words that scenarios are written in.

A scenario is a function of a Stage. What it claims, it claims in sentences:
the sentence of the first claim that does not hold is the whole reason that
the driver prints.
"""

from collections.abc import Callable, Mapping
import dataclasses
import enum
import time
from typing import Any

from bed.console import Allowed


class Mode(enum.StrEnum):
    """What runs as process 1 of the guest."""
    SCRIPT = 'script'
    SYSTEMD = 'systemd'


class Failed(Exception):
    """A claim of the scenario that does not hold, as a sentence."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    item: str
    core: bool
    mode: Mode
    timeout_s: float
    memory_mib: int
    healer: bool
    packages: tuple[str, ...]
    allow_console: tuple[Allowed, ...]
    play: 'Callable[[Stage], None]'

    @property
    def says(self) -> str:
        """The first line of its docstring."""
        return (self.play.__doc__ or '').strip().partition('\n')[0]


REGISTRY: dict[str, Scenario] = {}


def scenario(*, name: str, item: str, core: bool = False,
             mode: Mode | str = Mode.SCRIPT, timeout_s: float = 240.0,
             memory_mib: int = 1024, healer: bool = True,
             packages: tuple[str, ...] = (),
             allow_console: tuple[Allowed, ...] = ()
             ) -> 'Callable[[Callable[[Stage], None]], Scenario]':
    """Registers a function as a scenario.

    :param name: what the command line calls it, unique
    :param item: the item of the plan that it proves ('1', '10', 'bed')
    :param core: whether ``--core`` plays it
    :param timeout_s: in guest seconds, the boot not counted
    :param packages: of Debian, that it needs beside those of the usual
        image: it is played in an image of its own
    :param healer: False for a host where our package is not installed
    """
    def register(play: 'Callable[[Stage], None]') -> Scenario:
        if name in REGISTRY:
            raise ValueError(f'cannot register scenario {name}: because '
                             'there is one of that name already')
        REGISTRY[name] = Scenario(
            name=name, item=item, core=core, mode=Mode(mode), play=play,
            timeout_s=timeout_s, memory_mib=memory_mib, healer=healer,
            packages=tuple(sorted(packages)),
            allow_console=allow_console)
        return REGISTRY[name]
    return register


class Stage:
    """What a scenario has at hand: claims, figures, notes, and its exit."""

    def __init__(self, send: Callable[[Mapping[str, Any]], None],
                 params: Mapping[str, str]) -> None:
        self.params = params
        # a busy host's guests are slower than their clocks
        self.patience = float(params.get('patience', '1'))
        self.figures: dict[str, float | str] = {}
        self.worst_stall_s: float | None = None
        self.doing = 'starting'
        self._send = send
        self._on_exit: list[tuple[str, Callable[[], object]]] = []

    @staticmethod
    def now_s() -> float:
        """The guest's clock: seconds since its boot."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def note(self, text: str) -> None:
        """Says what happens; `make demo` shows it live."""
        self.doing = text
        self._send({'event': 'note', 'at_s': round(self.now_s(), 2),
                    'text': text})

    def check(self, sentence: str, condition: object,
              found: object = None) -> None:
        """Claims that ``condition`` holds; ``found`` helps when it doesn't."""
        holds = bool(condition)
        self._send({'event': 'check', 'at_s': round(self.now_s(), 2),
                    'sentence': sentence, 'holds': holds})
        if not holds:
            detail = '' if found is None else f' (found: {found})'
            raise Failed(f'does not hold: {sentence}{detail}')

    def wait_until(self, sentence: str, predicate: Callable[[], object],
                   timeout_s: float = 30.0, every_s: float = 0.1) -> float:
        """Waits for a claim to come true; returns the seconds it took."""
        self.doing = f'waiting until {sentence}'
        timeout_s *= self.patience
        began = self.now_s()
        while not predicate():
            if self.now_s() - began > timeout_s:
                raise Failed(f'did not come true within {timeout_s:g} s: '
                             f'{sentence}')
            time.sleep(every_s)
        took = self.now_s() - began
        self._send({'event': 'check', 'at_s': round(self.now_s(), 2),
                    'sentence': sentence, 'holds': True,
                    'after_s': round(took, 2)})
        return took

    def stays(self, sentence: str, predicate: Callable[[], object],
              for_s: float, every_s: float = 0.1) -> None:
        """Claims that something holds now and all the time ``for_s``."""
        self.doing = f'watching that {sentence}'
        began = self.now_s()
        while self.now_s() - began < for_s:
            if not predicate():
                raise Failed(f'held for {self.now_s() - began:.1f} s only: '
                             f'{sentence}')
            time.sleep(every_s)
        self.check(f'{sentence}, for {for_s:g} s', True)

    def figure(self, name: str, value: float | str) -> None:
        """Records a measurement; the unit is the last word of its name."""
        rounded = round(value, 4) if isinstance(value, float) else value
        self.figures[name] = rounded
        self._send({'event': 'figure', 'name': name, 'value': rounded})

    def stalled(self, seconds: float) -> None:
        """Feeds the worst stall that the summary line shows."""
        self.worst_stall_s = max(seconds, self.worst_stall_s or 0.0)

    def artifact(self, name: str, text: str) -> None:
        """Leaves a text beside the console log on the host."""
        self._send({'event': 'artifact', 'name': name, 'text': text})

    def at_exit(self, what: str, undo: Callable[[], object]) -> None:
        """Something to do at the end, pass or fail; the last comes first."""
        self._on_exit.append((what, undo))

    def leave(self) -> None:
        while self._on_exit:
            what, undo = self._on_exit.pop()
            try:
                undo()
            except Exception as error:  # noqa: BLE001 - the rest must follow
                self.note(f'cannot {what}: because {error!r}')
