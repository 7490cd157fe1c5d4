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

"""atheris looks for input that breaks a law.

Each target runs in a process of its own, since libFuzzer ends with it. What
it learns stays below ``build/fuzz`` for the next run; what breaks a law is
named, and belongs below ``found`` once it is mended.
"""

import argparse
from collections.abc import Callable, Sequence
import importlib
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

PACKAGE = 'os_brick_healer.tests.fuzz'
BUILD = pathlib.Path('build/fuzz')
#: Seconds that one input may take, and MiB that the process may have.
SLOW_S = 10
MEMORY_MIB = 1024
INPUT_BYTES_MAX = 16384
#: Seconds beyond the target's time in which its process has to end: it
#: imports everything instrumented, which takes long on a busy machine.
LEEWAY_S = 300


def main(argv: Sequence[str] | None = None) -> int:
    """Run the targets in turn. :returns: 1 when a law is broken."""
    parser = argparse.ArgumentParser(prog=f'python -m {PACKAGE}')
    parser.add_argument('--seconds', type=int, default=60,
                        help='for each target')
    parser.add_argument('--target', action='append', help='default: all')
    parser.add_argument('--inside', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.inside is not None:
        return _inside(args.inside, args.seconds)
    targets = _table(None)
    broken = [name for name in args.target or targets
              if not _outside(name, args.seconds)]
    print(f'targets: {len(args.target or targets)}')
    print(f'laws broken: {len(broken)}')
    for name in broken:
        print(f'    {name}: see {BUILD / name}.log and {BUILD / name}-*')
    return 1 if broken else 0


def _table(atheris: Any) -> dict[str, Any]:
    """The targets; for the fuzzer with our code instrumented."""
    if atheris is None:
        return dict(importlib.import_module(f'{PACKAGE}.table').TARGETS)
    with atheris.instrument_imports(include=['os_brick_healer']):
        return dict(importlib.import_module(f'{PACKAGE}.table').TARGETS)


def _outside(name: str, seconds: int) -> bool:
    BUILD.mkdir(parents=True, exist_ok=True)
    log = BUILD / f'{name}.log'
    with log.open('wb') as out:
        try:
            found = 'BROKEN' if subprocess.run(
                [sys.executable, '-W', 'ignore', '-m', PACKAGE, '--inside',
                 name, '--seconds', str(seconds)], stdout=out, stderr=out,
                timeout=seconds + LEEWAY_S, check=False).returncode else 'ok'
        except subprocess.TimeoutExpired:
            found = 'HANGS'
    last = [line for line in log.read_text(errors='replace').splitlines()
            if line.startswith(('#', 'Done'))]
    print(f'{name:16} {found:7} {last[-1] if last else "no figures"}',
          flush=True)
    return found == 'ok'


def _inside(name: str, seconds: int) -> int:
    atheris = importlib.import_module('atheris')
    made = _table(atheris)[name]
    corpus = BUILD / 'corpus' / name
    corpus.mkdir(parents=True, exist_ok=True)
    shared = '/dev/shm' if os.path.isdir('/dev/shm') else None
    with tempfile.TemporaryDirectory(prefix='fuzz-', dir=shared) as place:
        target = made(pathlib.Path(place))
        for number, seed in enumerate(target.seeds()):
            (corpus / f'seed-{number}').write_bytes(seed)
        words = BUILD / f'{name}.dict'
        words.write_text(''.join(map(_word, target.words)))
        _fuzz(atheris, target.run, [
            PACKAGE, str(corpus), f'-max_total_time={seconds}',
            f'-dict={words}', f'-max_len={INPUT_BYTES_MAX}',
            f'-timeout={SLOW_S}', f'-rss_limit_mb={MEMORY_MIB}',
            f'-artifact_prefix={BUILD / name}-', '-print_final_stats=1',
            '-reload=0'])
    return 0


def _fuzz(atheris: Any, run: Callable[[bytes], None],
          argv: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    atheris.Setup(argv, run, enable_python_coverage=True)
    atheris.Fuzz()


def _word(text: bytes) -> str:
    return '"' + ''.join(f'\\x{byte:02x}' for byte in text) + '"\n'


if __name__ == '__main__':
    sys.exit(main())
