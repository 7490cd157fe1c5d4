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
"""os-brick-healer adopt: a mapping that somebody else has made."""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import os
import tempfile

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.cli import offline
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal
from os_brick_healer.mapping import adopt
from os_brick_healer.sysfs import reader

EXIT_OK, EXIT_REFUSED = 0, 4


def arguments(one: argparse.ArgumentParser) -> None:
    """The words of the command."""
    one.add_argument('device', nargs='?', metavar='DEVICE',
                     help='nbd3, or /dev/nbd3, or where ceph-fuse has '
                     'mounted something; without it: every connected '
                     'device that the journal lacks')
    one.add_argument('--dry-run', action='store_true',
                     help='say what would be done, and write nothing')
    one.add_argument('--stash', metavar='FILE',
                     help="ceph-csi's image-meta.json, for a device whose "
                     'process has ended')
    one.add_argument('--alias', help="the volume's name for people")
    for word, text in (('user', 'of Ceph'),
                       ('keyring', 'below /etc/ceph'),
                       ('conf', 'below /etc/ceph'),
                       ('monitors', 'addresses, with commas')):
        one.add_argument(f'--{word}', metavar='WORD',
                         help=f'{text}; instead of what the process has')


def run(conf: cfg.ConfigOpts, args: argparse.Namespace,
        say: Callable[[str], None], complain: Callable[[str], None]) -> int:
    """Take over what is named, or all there is.

    :raises HealerError: what is named cannot be taken over.
    """
    if args.device is None and (args.stash or args.alias):
        raise exception.HealerError(
            'cannot adopt: because --stash and --alias are about one device',
            hint='name the device')
    path = os.path.join(conf[opts.GROUP].state_path, offline.JOURNAL)
    with (_to_read(path) if args.dry_run else contextlib.closing(
            journal.Journal(path, history_max=conf[opts.GROUP].history_max)
            )) as book:
        return work(adopt.adopter(conf, tree=reader.Tree(), journal=book),
                    args, say, complain)


@contextlib.contextmanager
def _to_read(path: str) -> Iterator[journal.Journal]:
    """The journal; without one, none that anybody would see."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(
            offline.book_of(os.path.dirname(path)) if os.path.exists(path)
            else journal.Journal(os.path.join(scratch, offline.JOURNAL))
            ) as book:
        yield book


def work(adopter: adopt.Adopter, args: argparse.Namespace,
         say: Callable[[str], None], complain: Callable[[str], None]) -> int:
    """The same, with an adopter of the caller's."""
    if args.device is not None:
        name = args.device.removeprefix('/dev/')
        say(_one(adopter, args, name.rstrip('/') or name))
        return EXIT_OK
    code, found = EXIT_OK, adopter.strangers()
    for name in found:
        try:
            say(_one(adopter, args, name))
        except exception.HealerError as e:
            complain(str(e))
            code = EXIT_REFUSED
    if not found:
        say('the journal has every connected device that has a cookie')
    return code


def _one(adopter: adopt.Adopter, args: argparse.Namespace,
         name: str) -> str:
    words = {word: value for word in adopt.WORDS
             if (value := getattr(args, word))}
    stash = adopt.read_stash(args.stash) if args.stash else None
    found = adopter.examine(name, stash=stash, words=words)
    if args.dry_run:
        return f'would be adopted: {found.sentence()}'
    adopter.enter(found, stash=stash, words=words,
                  alias=args.alias or found.alias)
    return f'adopted: {found.sentence()}'
