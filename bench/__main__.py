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
"""``python -m bench``: the figures that need no guest.

Those that do: ``python -m bed bench``. Both merge into build/bench.json.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
import functools
import sys

from bench import dead, figures, fleet, hook, mapped, passes

IDLE_S = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is named, or all; the exit status does not judge."""
    parser = argparse.ArgumentParser(prog='python -m bench')
    parser.add_argument('names', nargs='*', metavar='NAME',
                        help='fleet, passes, hook, dead, mapped (default: '
                        'all)')
    parser.add_argument('--idle-s', type=float, default=IDLE_S,
                        help='how long an idle agent is watched')
    options = parser.parse_args(argv)
    known: dict[str, Callable[[], Iterator[figures.Figure]]] = {
        'passes': passes.run, 'hook': hook.run, 'dead': dead.run,
        'mapped': functools.partial(mapped.run, options.idle_s),
        'fleet': functools.partial(fleet.run, options.idle_s)}
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f'no such benchmark: {", ".join(sorted(unknown))}')
    for name, run in known.items():
        if name in options.names or not options.names:
            for one in run():
                figures.show([one])
                figures.keep([one])
    return 0


if __name__ == '__main__':
    sys.exit(main())
