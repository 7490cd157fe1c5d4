#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.
"""The simulator's command line.

    python -m os_brick_healer.tests.simulation sim
    python -m os_brick_healer.tests.simulation soak --seconds 600
    python -m os_brick_healer.tests.simulation seed requests/17 --shrink
    python -m os_brick_healer.tests.simulation bugs

Sets are walked in the order of hashes, so the hash seed is part of a run:
the command sets it and starts itself anew.
"""

import argparse
from collections.abc import Iterable, Iterator
import dataclasses
import itertools
import os
import sys
import threading
import time
from typing import Any

from os_brick_healer.tests.simulation import bugs, crew, families, frozen
from os_brick_healer.tests.simulation import plan as plan_lib
from os_brick_healer.tests.simulation import run as run_lib
from os_brick_healer.tests.simulation import shrink as shrink_lib
from os_brick_healer.tests.simulation.mapping import gate as mapping

MODULE = 'os_brick_healer.tests.simulation'
#: Seeds of ``make sim``, the same each time, of the families of which no plan
#: is on record.
FIXED = ('mixed/100', 'storms/100', 'mixed/101')
CLOUD = tuple(f'cloud/{n}' for n in range(100, 102))
CORES = os.cpu_count() or 1


def _say(text: str) -> None:
    sys.stdout.write(text + '\n')
    sys.stdout.flush()


def _replay(plan: plan_lib.Plan) -> run_lib.Report:
    """In a process of the crew; the story stays there."""
    return dataclasses.replace(run_lib.play(plan), story=())


def _play(seed: str) -> Any:
    if mapping.is_mine(seed):
        return mapping.play(seed)
    return _replay(plan_lib.make(seed))


@dataclasses.dataclass(slots=True)
class Sum:
    """What came of many runs."""

    runs: int = 0
    faults: int = 0
    broken: int = 0
    checks: int = 0
    hours: float = 0.0

    def add(self, report: run_lib.Report) -> None:
        self.take(report)
        for broken in report.broken:
            _say(f'seed {report.plan.seed}: law {broken.law} broken at '
                 f'{broken.at_s:.2f} s: {broken.sentence}')

    def take(self, report: run_lib.Report) -> None:
        """Add what has been told already."""
        self.runs += 1
        self.faults += report.faults
        self.broken += len(report.broken)
        self.checks += report.checks
        self.hours += report.simulated_s / 3600.0

    def say(self, what: str, spent_s: float) -> None:
        _say(f'{what}: {self.runs} runs, {self.checks} checks, '
             f'{self.hours:.0f} hours simulated in {spent_s:.1f} s '
             f'({60 * self.hours / max(spent_s, 1e-3):.0f} in a minute)')


def _all(plans: Iterable[plan_lib.Plan], total: Sum, what: str,
         jobs: int) -> None:
    begun_s, part = time.monotonic(), Sum()
    for report in crew.share(_replay, plans, jobs):
        part.add(report)
        total.take(report)
    part.say(what, time.monotonic() - begun_s)


def _sim(args: argparse.Namespace) -> int:
    total = Sum()
    _all(map(plan_lib.make, FIXED), total, 'fixed seeds', args.jobs)
    _all(map(plan_lib.make, CLOUD), total, 'a host of 10 volumes', args.jobs)
    results = list(_tell(_prove(total, args.jobs)))
    results += mapping.sim(total.add, args.jobs)
    caught = sum(r.caught is not None for r in results)
    _say(f'faults injected: {total.faults}')
    _say(f'laws broken: {total.broken}')
    _say(f'seeded bugs caught: {caught} of {len(results)}')
    return 0 if not total.broken and caught == len(results) else 1


def _prove(total: Sum, jobs: int) -> Iterator[bugs.Result]:
    """The plans on record, each without a bug and with those it caught."""
    begun_s, part = time.monotonic(), Sum()
    for well, results in crew.share(bugs.prove, bugs.by_plan(), jobs):
        if well is not None:
            part.add(well)
            total.take(well)
        yield from results
    part.say('the plans on record, and the bugs', time.monotonic() - begun_s)


def _tell(results: Iterable[bugs.Result]) -> Iterator[bugs.Result]:
    for result in results:
        _say(f'bug {result.bug}: ' + (
            'NOT CAUGHT' if result.caught is None else
            f'law {result.caught}')
            + f' after {result.seeds} seeds ({result.seed})')
        yield result


def _soak(args: argparse.Namespace) -> int:
    begun_s, total = time.monotonic(), Sum()
    base = args.base if args.base is not None else f'{time.time_ns():x}'
    kinds = [args.family] if args.family else [
        *(f for f in families.FAMILIES if f != 'cloud'), *mapping.kinds()]

    def _seeds() -> Iterator[str]:
        # The pool reads ahead: no more than it can finish soon.
        for number in itertools.count():
            if time.monotonic() - begun_s >= args.seconds:
                return
            ahead.acquire()
            yield f'{kinds[number % len(kinds)]}/{base}-{number}'

    ahead = threading.Semaphore(4 * args.jobs)
    for report in crew.share(_play, _seeds(), args.jobs):
        ahead.release()
        total.add(report)
    total.say('soak', time.monotonic() - begun_s)
    _say(f'seeds: {base}-0 to {base}-{total.runs - 1}, of the families '
         f'{", ".join(kinds)} in turn')
    _say(f'faults injected: {total.faults}')
    _say(f'laws broken: {total.broken}')
    return 1 if total.broken else 0


def _seed(args: argparse.Namespace) -> int:
    with bugs.seeded(args.bug):
        plan = (frozen.read(args.seed) if args.seed in frozen.names()
                else plan_lib.make(args.seed))
        if args.bug:
            plan = bugs.fitted(bugs.named(args.bug), plan)
        report = run_lib.play(plan)
        if report.broken and args.shrink:
            report = shrink_lib.shrink(report, args.law or report.laws[0],
                                       run_lib.play)
    _say(run_lib.story(report))
    if args.freeze:
        frozen.write(args.freeze, report.plan)
    _say(f'laws broken: {", ".join(report.laws) or "none"}')
    return 1 if report.broken else 0


def _bugs(args: argparse.Namespace) -> int:
    work = bugs.catch_anew if args.write else bugs.catch_again
    names = [b.name for b in bugs.BUGS if (args.only or '') in b.name]
    results = list(_tell(crew.share(work, names, args.jobs)))
    if args.write:
        bugs.write_record(results)
    return 0 if all(r.caught is not None for r in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f'python -m {MODULE}')
    parser.add_argument('--jobs', type=int, default=CORES,
                        help='processes at once')
    verbs = parser.add_subparsers(required=True)
    sim = verbs.add_parser('sim', help='the fixed seeds, and the bugs')
    sim.set_defaults(run=_sim)
    soak = verbs.add_parser('soak', help='fresh seeds, for as long as asked')
    soak.add_argument('--seconds', type=float, default=60.0)
    soak.add_argument('--base', help='seeds are FAMILY/BASE-NUMBER')
    soak.add_argument('--family', choices=sorted(families.FAMILIES))
    soak.set_defaults(run=_soak)
    seed = verbs.add_parser('seed', help='one seed, told as a story')
    seed.add_argument('seed', help='a seed, or the name of a frozen plan')
    seed.add_argument('--shrink', action='store_true')
    seed.add_argument('--law', help='which one to keep broken')
    seed.add_argument('--bug', help='with this bug seeded')
    seed.add_argument('--freeze', help='keep the plan under this name')
    seed.set_defaults(run=_seed)
    catch = verbs.add_parser('bugs', help='the seeded bugs alone')
    catch.add_argument('--only', help='names that contain this')
    catch.add_argument('--write', action='store_true',
                       help='from the first seed on; then write the record '
                            'and the table of the documentation')
    catch.set_defaults(run=_bugs)
    return parser


def main() -> int:
    """The command."""
    args = _parser().parse_args()
    if os.environ.get('PYTHONHASHSEED') != '0':
        os.execve(sys.executable,
                  [sys.executable, '-m', MODULE, *sys.argv[1:]],
                  {**os.environ, 'PYTHONHASHSEED': '0'})
    return int(args.run(args))


if __name__ == '__main__':
    sys.exit(main())
