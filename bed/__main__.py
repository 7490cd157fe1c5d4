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
"""The bed's command line: ``python3 -m bed --help``."""

import argparse
from collections.abc import Sequence
import os
import pathlib
import shutil
import signal
import sys

from bed import image, machine, runner, scenarios
from bed.guest.scenario import Scenario
from bench import figures, guests

#: Shown or measured: not played with the rest.
APART = ('demo', 'bench')


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog='python3 -m bed', description='The QEMU test bed.')
    verbs = top.add_subparsers(dest='verb', required=True)
    build = verbs.add_parser('build', help='build the guest image')
    build.add_argument('--fresh', action='store_true',
                       help='build it again although the cache has it')
    build.add_argument('--prune', action='store_true',
                       help='delete the images that are not used any more')
    verbs.add_parser('list', help='list the scenarios')
    run = verbs.add_parser('run', help='play scenarios')
    run.add_argument('names', nargs='*', metavar='NAME')
    run.add_argument('--core', action='store_true',
                     help='the ones that cover the flow')
    run.add_argument('--all', action='store_true', help='every one')
    run.add_argument('--go-on', action='store_true',
                     help='but those that have passed with this very code')
    run.add_argument('-j', '--jobs', type=int, metavar='N',
                     default=max(1, (os.cpu_count() or 1) // 2),
                     help='guests at once (default: half the CPUs)')
    run.add_argument('-p', '--param', action='append', default=[],
                     metavar='KEY=VALUE', help='handed to the scenarios')
    run.add_argument('--live', action='store_true',
                     help='show what happens while it happens')
    demo = verbs.add_parser('demo', help='watch a volume heal')
    demo.set_defaults(names=['demo'], core=False, all=False, jobs=1,
                      param=[], live=True, go_on=False)
    bench = verbs.add_parser(
        'bench', help='measure, and leave the figures in build/bench.json')
    bench.add_argument('-p', '--param', action='append', default=[],
                       metavar='KEY=VALUE', help='handed to the scenarios')
    bench.add_argument('--live', action='store_true',
                       help='show what happens while it happens')
    bench.set_defaults(names=[], core=False, all=False, jobs=1,
                       go_on=False)
    shell = verbs.add_parser('shell', help='a guest with a root shell')
    shell.add_argument('--memory-mib', type=int, default=1024)
    return top


def choose(options: argparse.Namespace,
           known: dict[str, Scenario]) -> list[Scenario]:
    unknown = [name for name in options.names if name not in known]
    if unknown:
        raise image.ImageError(
            f'cannot play {", ".join(unknown)}: because there is no such '
            'scenario, see python3 -m bed list')
    return [item for item in known.values()
            if (options.all and item.item not in APART)
            or (options.verb == 'bench' and item.item == 'bench')
            or item.name in options.names
            or (options.core and item.core)]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # a driver that is told to end takes its guests along
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    project_dir = image.PROJECT_DIR
    try:
        match options.verb:
            case 'build':
                return build(options, project_dir)
            case 'list':
                return show_list()
            case 'shell':
                ground = runner.Ground.prepare(project_dir)
                return machine.shell(ground.image, ground.payload,
                                     options.memory_mib)
            case _:
                return run(options, project_dir)
    except image.ImageError as error:
        return runner.complain(str(error))
    except KeyboardInterrupt:
        return 130


def build(options: argparse.Namespace, project_dir: pathlib.Path) -> int:
    image.ensure_host_packages()
    wanted = image.recipe(project_dir)
    if options.prune:
        needed = {item.packages for item in scenarios.load().values()}
        for path in image.stale_images([
                image.recipe(project_dir, packages) for packages in needed]):
            image.say(f'deleting {path}')
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    print(image.ensure(wanted, fresh=options.fresh).root)
    return 0


def show_list() -> int:
    for item in scenarios.load().values():
        core = 'core' if item.core else ''
        print(f'{item.name:<36} {item.item:>4} {core:<4} {item.says}')
    return 0


def run(options: argparse.Namespace, project_dir: pathlib.Path) -> int:
    chosen = choose(options, scenarios.load())
    if not chosen:
        return runner.complain('name a scenario, or say --core or --all')
    params = {'patience': os.environ.get('OBH_BED_PATIENCE', '1'),
              **dict(word.split('=', 1) for word in options.param)}
    ground = runner.Ground.prepare(project_dir)
    if options.go_on:
        before = runner.passed_before(ground, params)
        print(f'passed before: {sum(x.name in before for x in chosen)} of '
              f'{len(chosen)}', flush=True)
        chosen = [item for item in chosen if item.name not in before]
    results = runner.play_all(chosen, ground, params,
                              jobs=max(1, options.jobs), live=options.live)
    if options.verb == 'bench':
        told = {name: value for result in results
                for name, value in result.figures.items()}
        found = tuple(guests.figures(told))
        figures.show(found)
        figures.keep(found)
    return 0 if all(result.passed for result in results) else 1


if __name__ == '__main__':
    sys.exit(main())
