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
"""The simulator of mapped volumes alone.

    python -m os_brick_healer.tests.simulation.mapping sim
    python -m os_brick_healer.tests.simulation.mapping soak --seconds 600
    python -m os_brick_healer.tests.simulation.mapping seed mapping-nova/7
    python -m os_brick_healer.tests.simulation.mapping bugs --write
"""

import argparse
import itertools
import os
import sys
import time

from os_brick_healer.tests.simulation import crew
from os_brick_healer.tests.simulation.mapping import bugs, gate
from os_brick_healer.tests.simulation.mapping import run as run_lib

MODULE = 'os_brick_healer.tests.simulation.mapping'


class Sum:
    """What came of many runs."""

    def __init__(self) -> None:
        self.runs = self.faults = self.broken = 0
        self.hours = 0.0

    def add(self, report: run_lib.Report) -> None:
        self.runs += 1
        self.faults += report.faults
        self.broken += len(report.broken)
        self.hours += report.simulated_s / 3600.0
        for broken in report.broken:
            sys.stdout.write(
                f'seed {report.plan.seed}: law {broken.law} broken at '
                f'{broken.at_s:.2f} s: {broken.sentence}\n')


def _sim(args: argparse.Namespace) -> int:
    total = Sum()
    results = gate.sim(total.add, args.jobs)
    caught = sum(r.caught is not None for r in results)
    sys.stdout.write(
        f'faults injected: {total.faults}\nlaws broken: {total.broken}\n'
        f'seeded bugs caught: {caught} of {len(results)}\n')
    return 0 if not total.broken and caught == len(results) else 1


def _soak(args: argparse.Namespace) -> int:
    """Fresh seeds, a handful from each family at a time."""
    begun_s, total = time.monotonic(), Sum()
    base, kinds = args.base or f'{time.time_ns():x}', gate.kinds()
    for number in itertools.count():
        if time.monotonic() - begun_s >= args.seconds:
            break
        for report in crew.share(gate.play, [
                f'{kind}/{base}-{number}' for kind in kinds], args.jobs):
            total.add(report)
    sys.stdout.write(
        f'seeds: {base}-0 to {base}-{total.runs // len(kinds) - 1} of '
        f'{", ".join(kinds)}; {total.runs} runs, {total.hours:.0f} hours '
        f'simulated in {time.monotonic() - begun_s:.0f} s\n'
        f'faults injected: {total.faults}\nlaws broken: {total.broken}\n')
    return 1 if total.broken else 0


def _seed(args: argparse.Namespace) -> int:
    report = gate.seed(args.seed, args.bug, args.law, args.shrink)
    sys.stdout.write(f'{run_lib.story(report)}\nlaws broken: '
                     f'{", ".join(report.laws) or "none"}\n')
    return 1 if report.broken else 0


def _bugs(args: argparse.Namespace) -> int:
    work = bugs.catch_anew if args.write else bugs.catch_again
    names = [b.name for b in bugs.BUGS if (args.only or '') in b.name]
    results = list(gate.tell(crew.share(work, names, args.jobs)))
    if args.write:
        bugs.write_record(results)
    return 0 if all(r.caught is not None for r in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f'python -m {MODULE}')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
    verbs = parser.add_subparsers(required=True)
    sim = verbs.add_parser('sim', help='the fixed seeds, and the bugs')
    sim.set_defaults(run=_sim)
    soak = verbs.add_parser('soak', help='fresh seeds, for as long as asked')
    soak.add_argument('--seconds', type=float, default=60.0)
    soak.add_argument('--base', help='seeds are KIND/BASE-NUMBER')
    soak.set_defaults(run=_soak)
    seed = verbs.add_parser('seed', help='one seed, told as a story')
    seed.add_argument('seed')
    seed.add_argument('--shrink', action='store_true')
    seed.add_argument('--law', help='which one to keep broken')
    seed.add_argument('--bug', help='with this bug seeded')
    seed.set_defaults(run=_seed)
    catch = verbs.add_parser('bugs', help='the seeded bugs alone')
    catch.add_argument('--only', help='names that contain this')
    catch.add_argument('--write', action='store_true')
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
