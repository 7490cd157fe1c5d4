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
"""The guest-like writer: O_DIRECT writes that never stop, and their proof.

Writer is the scenario's end; the I/O itself happens in a process of its own
(``python -m bed.guest.writer DEVICE``), because a thread inside a stuck
write cannot be killed, and must not take the scenario with it. The two talk
in JSON lines over the process's standard input and output.
"""

from collections.abc import Sequence
import dataclasses
import json
import mmap
import os
import pathlib
import queue
import random
import subprocess
import sys
import threading
import time
from typing import Any

from bed.guest import superblock
from bed.guest.blocks import BLOCK_BYTES, Ledger, make

NOTED_STALL_S = 0.25
STALLS_KEPT = 200
ANSWER_DEADLINE_S = 60.0
SEED = 20210


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """One I/O that took long, in guest seconds; still under way or not."""
    kind: str
    at_s: float
    for_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IoFailure:
    """One I/O that came back with an error: what must never be seen."""
    kind: str
    at_s: float
    text: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where the writer stands."""
    writes: int
    reads: int
    flushes: int
    stalls: tuple[Stall, ...]
    failures: tuple[IoFailure, ...]
    bad_reads: tuple[str, ...]
    under_way: Stall | None

    @property
    def worst_stall_s(self) -> float:
        """The longest that any I/O took, the one under way included."""
        now = (self.under_way,) if self.under_way else ()
        return max((stall.for_s for stall in (*self.stalls, *now)),
                   default=0.0)


class Writer:
    """Writes to a device until stop(); then verify() proves the data.

    >>> writer = Writer('/dev/md/vol1')          # doctest: +SKIP
    >>> writer.stop(); writer.verify()           # doctest: +SKIP
    """

    def __init__(self, path: str, *, pause_s: float = 0.005,
                 span_mib: int | None = None, seed: int = SEED) -> None:
        """Starts at once.

        :param pause_s: between two I/Os, to leave something of the CPU
        :param span_mib: keep to the first so many MiB of the device
        """
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'bed.guest.writer', path, str(pause_s),
             str(span_mib or 0), str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1)
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._ask('report')  # returns once it really writes

    def report(self) -> Report:
        return _report(self._ask('report'))

    @property
    def worst_stall_s(self) -> float:
        return self.report().worst_stall_s

    @property
    def failures(self) -> tuple[IoFailure, ...]:
        return self.report().failures

    @property
    def writes(self) -> int:
        return self.report().writes

    def stall_now_s(self) -> float:
        """How long the I/O under way has been so already; 0 if brisk."""
        under_way = self.report().under_way
        return under_way.for_s if under_way else 0.0

    def flowing(self, within_s: float = 1.0) -> bool:
        """Whether an I/O completes within the time given."""
        before = self.report()
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            now = self.report()
            if now.writes + now.reads > before.writes + before.reads:
                return True
            time.sleep(0.02)
        return False

    def forget_stalls(self) -> None:
        """Measures from now on: stalls and errors so far are dropped."""
        self._ask('forget')

    def stop(self, timeout_s: float = 10.0) -> Report:
        """Ends the writing and closes the device; raises if it is stuck."""
        answer = self._ask('stop', timeout_s=timeout_s)
        found = _report(answer)
        if not answer['stopped']:
            stuck = found.under_way
            raise TimeoutError(
                f'cannot stop the writer: because {self.path} is not closed '
                f'after {timeout_s:g} s' if stuck is None else
                f'cannot stop the writer: because an I/O to {self.path} has '
                f'been stuck for {stuck.for_s:.1f} s')
        return found

    def verify(self, path: str | None = None) -> list[str]:
        """Reads back every block with O_DIRECT; what is wrong, if any."""
        return list(self._ask('verify', path=path or self.path, offset=0,
                              direct=True, timeout_s=300.0)['wrong'])

    def verify_file(self, path: str) -> list[str]:
        """The same in a file that a server wrote to, as others see it."""
        return list(self._ask('verify', path=path, offset=0, direct=False,
                              timeout_s=300.0)['wrong'])

    def verify_medium(self, medium: pathlib.Path) -> list[str]:
        """The same on a leg's own bytes, where MD put the data."""
        with medium.open('rb') as file:
            file.seek(superblock.OFFSET_BYTES)
            found = superblock.parse(file.read(superblock.SIZE_BYTES))
        if found is None:
            return ['the leg carries no MD superblock']
        return list(self._ask('verify', path=str(medium), direct=False,
                              offset=found.data_offset_bytes,
                              timeout_s=300.0)['wrong'])

    def some_block(self) -> int:
        """The number of a block with an acknowledged version."""
        return int(self._ask('some_block')['number'])

    def close(self) -> None:
        self._process.kill()
        # not waited for: a process inside a stuck write never ends

    def _ask(self, command: str, *, timeout_s: float = ANSWER_DEADLINE_S,
             **arguments: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(
            json.dumps({'command': command, 'timeout_s': timeout_s,
                        **arguments}) + '\n')
        answer = self._answers.get(timeout=timeout_s + 15)
        if answer is None:
            raise OSError('cannot talk to the writer: because its process '
                          f'ended with {self._process.wait(5)}')
        if 'error' in answer:
            raise OSError(f'cannot {command}: because {answer["error"]}')
        return answer

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)


def _report(answer: dict[str, Any]) -> Report:
    under_way = answer['under_way']
    return Report(
        writes=answer['writes'], reads=answer['reads'],
        flushes=answer['flushes'],
        stalls=tuple(Stall(**each) for each in answer['stalls']),
        failures=tuple(IoFailure(**each) for each in answer['failures']),
        bad_reads=tuple(answer['bad_reads']),
        under_way=Stall(**under_way) if under_way else None)


# The writing process ------------------------------


class _Engine:
    """The I/O thread's state; the control thread only looks at it."""

    READ_EVERY, FLUSH_EVERY = 8, 64

    def __init__(self, path: str, pause_s: float, span_mib: int,
                 seed: int) -> None:
        self.ledger = Ledger(run=os.urandom(16))
        self.writes = self.reads = self.flushes = 0
        self.stalls: list[Stall] = []
        self.failures: list[IoFailure] = []
        self.bad_reads: list[str] = []
        self.stopping = threading.Event()
        self.stopped = threading.Event()
        self._busy: tuple[str, float] | None = None
        self._pause_s = pause_s
        self._random = random.Random(seed)
        self._fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        size = os.lseek(self._fd, 0, os.SEEK_END)
        if span_mib:
            size = min(size, span_mib << 20)
        self._blocks = size // BLOCK_BYTES
        self._page = mmap.mmap(-1, BLOCK_BYTES)

    def under_way(self) -> Stall | None:
        busy = self._busy
        if busy is None:
            return None
        kind, began = busy
        return Stall(kind=kind, at_s=began, for_s=_now_s() - began)

    def run(self) -> None:
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            if turn % self.FLUSH_EVERY == 0:
                self._timed('flush', self._flush)
            elif turn % self.READ_EVERY == 0 and self.ledger.acknowledged:
                self._timed('read', self._read)
            else:
                self._timed('write', self._write)
            time.sleep(self._pause_s)
        os.close(self._fd)
        self.stopped.set()

    def _timed(self, kind: str, step: Any) -> None:
        began = _now_s()
        self._busy = (kind, began)
        try:
            step()
        except OSError as error:
            if len(self.failures) < STALLS_KEPT:
                self.failures.append(IoFailure(
                    kind=kind, at_s=_now_s(),
                    text=os.strerror(error.errno or 0)))
            time.sleep(0.05)  # a broken array must not make us spin
        took = _now_s() - began
        self._busy = None
        if took >= NOTED_STALL_S and len(self.stalls) < STALLS_KEPT:
            self.stalls.append(Stall(kind=kind, at_s=began, for_s=took))

    def _write(self) -> None:
        # half of them in a row, as a journal is written, half anywhere
        number = (self.writes % self._blocks if self.writes % 2
                  else self._random.randrange(self._blocks))
        version = self.ledger.next_version(number)
        self._page[:] = make(self.ledger.run, number, version)
        os.pwritev(self._fd, [self._page], number * BLOCK_BYTES)
        self.ledger.acknowledge(number, version)
        self.writes += 1

    def _read(self) -> None:
        number = self.some_block()
        os.preadv(self._fd, [self._page], number * BLOCK_BYTES)
        self.reads += 1
        wrong = self.ledger.judge(number, bytes(self._page))
        if wrong and len(self.bad_reads) < STALLS_KEPT:
            self.bad_reads.append(wrong)

    def _flush(self) -> None:
        os.fdatasync(self._fd)
        self.flushes += 1

    def some_block(self) -> int:
        return self._random.choice(list(self.ledger.acknowledged))


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _verify(ledger: Ledger, path: str, offset: int,
            direct: bool) -> list[str]:
    flags = os.O_RDONLY | (os.O_DIRECT if direct else 0)
    descriptor = os.open(path, flags)
    page = mmap.mmap(-1, BLOCK_BYTES)
    wrong = []
    try:
        for number in sorted(ledger.acknowledged):
            try:
                count = os.preadv(descriptor, [page],
                                  offset + number * BLOCK_BYTES)
            except OSError as error:
                wrong.append(f'block {number} cannot be read: '
                             f'{error.strerror}')
            else:
                text = ('is beyond the end' if count != BLOCK_BYTES
                        else ledger.judge(number, bytes(page)))
                if text:
                    wrong.append(text)
            if len(wrong) >= 20:
                break
    finally:
        os.close(descriptor)
    return wrong


def _answer(engine: _Engine, order: dict[str, Any]) -> dict[str, Any]:
    match order['command']:
        case 'verify':
            return {'wrong': _verify(engine.ledger, order['path'],
                                     order['offset'], order['direct'])}
        case 'some_block':
            return {'number': engine.some_block()}
        case 'forget':
            engine.stalls.clear()
            engine.failures.clear()
        case 'stop':
            engine.stopping.set()
            engine.stopped.wait(order['timeout_s'])
    under_way = engine.under_way()
    return {
        'writes': engine.writes, 'reads': engine.reads,
        'flushes': engine.flushes, 'bad_reads': engine.bad_reads,
        'stalls': [dataclasses.asdict(stall) for stall in engine.stalls],
        'failures': [dataclasses.asdict(each) for each in engine.failures],
        'under_way': dataclasses.asdict(under_way) if under_way else None,
        'stopped': engine.stopped.is_set()}


def main(arguments: Sequence[str]) -> int:
    path, pause_s, span_mib, seed = arguments
    engine = _Engine(path, float(pause_s), int(span_mib), int(seed))
    threading.Thread(target=engine.run, daemon=True).start()
    for line in sys.stdin:
        try:
            answer = _answer(engine, json.loads(line))
        except OSError as error:
            answer = {'error': str(error)}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
