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
    python -m os_brick_healer.tests.simulation seed 17 --shrink
    python -m os_brick_healer.tests.simulation bugs

Sets are walked in the order of hashes, so the hash seed is part of a run:
the command sets it and starts itself anew.
"""

import argparse
import os
import sys
import time

from os_brick_healer.tests.simulation import bugs
from os_brick_healer.tests.simulation import plan as plan_lib
from os_brick_healer.tests.simulation import run as run_lib
from os_brick_healer.tests.simulation import shrink as shrink_lib

MODULE = 'os_brick_healer.tests.simulation'
#: The seeds of ``make sim``; those that found a bug of ours stay for good.
FIXED = tuple(str(n) for n in range(1, 25))


def _say(text: str) -> None:
    sys.stdout.write(text + '\n')
    sys.stdout.flush()


def _play(seed: str) -> run_lib.Report:
    report = run_lib.play(plan_lib.make(seed))
    for broken in report.broken:
        _say(f'seed {seed}: law {broken.law} broken at {broken.at_s:.2f} s: '
             f'{broken.sentence}')
    return report


def _total(reports: list[run_lib.Report], spent_s: float) -> int:
    hours = sum(r.simulated_s for r in reports) / 3600.0
    broken = sum(len(r.broken) for r in reports)
    _say(f'{len(reports)} runs, {hours:.1f} hours simulated in '
         f'{spent_s:.0f} s ({60 * hours / max(spent_s, 1e-3):.0f} in a '
         f'minute), {sum(r.checks for r in reports)} checks')
    return broken


def _sim(args: argparse.Namespace) -> int:
    begun_s = time.monotonic()
    reports = [_play(seed) for seed in (*bugs.REGRESSIONS, *FIXED)]
    broken = _total(reports, time.monotonic() - begun_s)
    results = bugs.catch_all(seeds=args.bug_seeds, say=_say)
    caught = sum(r.caught is not None for r in results)
    _say(f'faults injected: {sum(r.faults for r in reports)}')
    _say(f'laws broken: {broken}')
    _say(f'seeded bugs caught: {caught} of {len(results)}')
    return 0 if not broken and caught == len(results) else 1


def _soak(args: argparse.Namespace) -> int:
    begun_s = time.monotonic()
    base = args.base if args.base is not None else f'{time.time_ns():x}'
    reports: list[run_lib.Report] = []
    number = 0
    while time.monotonic() - begun_s < args.seconds:
        reports.append(_play(f'{base}-{number}'))
        number += 1
    broken = _total(reports, time.monotonic() - begun_s)
    _say(f'seeds: {base}-0 to {base}-{number - 1}')
    _say(f'faults injected: {sum(r.faults for r in reports)}')
    _say(f'laws broken: {broken}')
    return 1 if broken else 0


def _seed(args: argparse.Namespace) -> int:
    with bugs.seeded(args.bug):
        report = run_lib.play(plan_lib.make(args.seed))
        if report.broken and args.shrink:
            report = shrink_lib.shrink(report, report.laws[0])
    _say(run_lib.story(report))
    _say(f'laws broken: {", ".join(report.laws) or "none"}')
    return 1 if report.broken else 0


def _bugs(args: argparse.Namespace) -> int:
    results = bugs.catch_all(seeds=args.seeds, say=_say, only=args.only)
    return 0 if all(r.caught is not None for r in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f'python -m {MODULE}')
    verbs = parser.add_subparsers(required=True)
    sim = verbs.add_parser('sim', help='the fixed seeds, and the bugs')
    sim.add_argument('--bug-seeds', type=int, default=bugs.SEEDS_MAX)
    sim.set_defaults(run=_sim)
    soak = verbs.add_parser('soak', help='fresh seeds, for as long as asked')
    soak.add_argument('--seconds', type=float, default=60.0)
    soak.add_argument('--base', help='seeds are BASE-0, BASE-1, ...')
    soak.set_defaults(run=_soak)
    seed = verbs.add_parser('seed', help='one seed, told as a story')
    seed.add_argument('seed')
    seed.add_argument('--shrink', action='store_true')
    seed.add_argument('--bug', help='with this bug seeded')
    seed.set_defaults(run=_seed)
    catch = verbs.add_parser('bugs', help='the seeded bugs alone')
    catch.add_argument('--seeds', type=int, default=bugs.SEEDS_MAX)
    catch.add_argument('--only', help='names that contain this')
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
