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

"""The pure rooms, each with the tests that are its own.

A module that says "Pure." in its docstring is held to three things: it
imports nothing that reads or does (the contracts), its own tests reach every
line and branch of it (``make cover-pure``), and they notice when it is
changed (``make mutation``). ``python -m os_brick_healer.tests.pure`` prints
what those two need.
"""

import sys

PACKAGE = 'os_brick_healer'
UNIT = f'{PACKAGE}.tests.unit'

#: Room -> modules of unit tests, the quickest first.
ROOMS: dict[str, tuple[str, ...]] = {
    'attachments.cinder_parse': ('attachments.test_parse',),
    'attachments.kubernetes_parse': ('attachments.test_parse',),
    'attachments.parse': ('attachments.test_parse',),
    'cli.render': ('cli.test_render',),
    'connector.guard': ('connector.test_plans', 'connector.test_legs'),
    'connector.legs': ('connector.test_legs',),
    'connector.resolve': ('connector.test_legs', 'connector.test_parts'),
    'engine.columns': ('engine.test_columns',),
    'engine.limits': ('engine.test_pacing',),
    'engine.pacing': ('engine.test_pacing',),
    'engine.slots': ('engine.test_slots',),
    'engine.verdict': ('replica.test_learned', 'replica.test_rooms'),
    'fuse.parse': ('fuse.test_parse',),
    'mapping.compare': ('mapping.test_compare',),
    'mapping.decide': ('mapping.test_rooms', 'mapping.test_cut_off',
                       'mapping.test_retry', 'mapping.test_elsewhere',
                       'mapping.test_places', 'mapping.test_decide',
                       'mapping.test_flow'),
    'mapping.laws': ('mapping.test_laws', 'mapping.test_rooms',
                     'mapping.test_decide'),
    'mapping.learn': ('mapping.test_rooms', 'mapping.test_decide',
                      'mapping.test_flow', 'mapping.test_cut_off',
                      'mapping.test_remember'),
    'mapping.model': ('mapping.test_laws', 'mapping.test_rooms',
                      'mapping.test_remember', 'mapping.test_decide'),
    'mapping.remember': ('mapping.test_remember',),
    'mapping.telling': ('mapping.test_remember',),
    'mounter.rbd_words': ('mounter.test_rbd_words',),
    'nbd.genl': ('nbd.test_genl',),
    'nbd.parse': ('nbd.test_parse',),
    'nbd.reads': ('nbd.test_reads',),
    'privileged.check': ('privileged.test_check',
                         'privileged.test_check_serving'),
    'provisioner.answer': ('provisioner.test_answer',),
    'provisioner.kumoscale_parse': ('provisioner.test_kumoscale_parse',),
    'replica.asking': ('replica.test_asking', 'replica.test_bounds'),
    'replica.case': ('replica.test_case', 'replica.test_bounds',
                     'replica.test_flow', 'replica.test_heal',
                     'replica.test_letting_go', 'replica.test_asking',
                     'replica.test_recalled'),
    'replica.decide': ('replica.test_rooms', 'replica.test_flow',
                       'replica.test_frozen', 'replica.test_withdrawn',
                       'replica.test_told', 'replica.test_bounds'),
    'replica.doubt': ('replica.test_doubt', 'replica.test_spares'),
    'replica.flow': ('replica.test_flow', 'replica.test_case',
                     'replica.test_bounds'),
    'replica.heal': ('replica.test_heal', 'replica.test_letting_go',
                     'replica.test_flow', 'replica.test_withdrawn',
                     'replica.test_given_up_early', 'replica.test_bounds'),
    'replica.laws': ('replica.test_permitted', 'replica.test_withdrawn',
                     'replica.test_bounds'),
    'replica.learn': ('replica.test_learned', 'replica.test_learn',
                      'replica.test_bounds'),
    'replica.model': ('replica.test_learned', 'replica.test_heal',
                      'replica.test_remember', 'replica.test_frozen'),
    'replica.plain': ('replica.test_plain',),
    'replica.recall': ('replica.test_recalled', 'replica.test_recall',
                       'replica.test_withdrawn', 'replica.test_doubt',
                       'replica.test_learned', 'replica.test_bounds',
                       'replica.test_late', 'replica.test_unwatched'),
    'replica.remember': ('replica.test_remember', 'replica.test_recalled'),
    'replica.reporting': ('replica.test_told', 'replica.test_heal'),
    'replica.saying': ('replica.test_bounds', 'replica.test_heal',
                       'replica.test_asking'),
    'replica.telling': ('replica.test_telling',),
    'replica.words': ('replica.test_words',),
    'sysfs.parse': ('sysfs.test_parse',),
}


def path(room: str) -> str:
    """Where a room is, from the root of the tree."""
    return f'{PACKAGE}/{room.replace(".", "/")}.py'


def tests(*rooms: str) -> list[str]:
    """The modules of tests of some rooms, each once."""
    every = (f'{UNIT}.{test}' for room in rooms for test in ROOMS[room])
    return list(dict.fromkeys(every))


def main(argv: list[str]) -> int:
    """Print the ``rooms`` (with commas), or the ``tests``."""
    what, *rooms = argv
    chosen = rooms or list(ROOMS)
    print(','.join(map(path, chosen)) if what == 'rooms'  # noqa: T201
          else ' '.join(tests(*chosen)))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
