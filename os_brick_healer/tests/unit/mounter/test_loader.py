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
"""Mounters are found by their names, and a broken one hurts no other."""

from collections.abc import Mapping

from os_brick_healer import exception
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.mounter import loader, nbd
from os_brick_healer.tests import base


class Broken(nbd.NbdMounter):
    """Cannot even be made."""

    def __init__(self) -> None:
        raise RuntimeError('no')


class Undeclared(mounter_base.Mounter):
    """Says nothing of what it can do."""

    def normalize(self, given: Mapping[str, object]) -> mounter_base.Source:
        return {}

    def server(self, order: mounter_base.Order) -> mounter_base.Server:
        return mounter_base.Server(argv=())

    def marks(self, order: mounter_base.Order) -> tuple[str, ...]:
        return ()


PLUGINS = {'good': nbd.NbdMounter, 'broken': Broken, 'text': 'x',
           'undeclared': Undeclared}


class LoaderTest(base.TestCase):
    def mounters(self) -> loader.Mounters:
        return loader.Mounters(names=lambda: tuple(PLUGINS),
                               find=PLUGINS.__getitem__)

    def test_a_mounter_is_made_once(self) -> None:
        one = self.mounters()
        self.assertIsInstance(one.get('good'), nbd.NbdMounter)
        self.assertIs(one.get('good'), one.get('good'))
        self.assertEqual(nbd.NbdMounter.abilities, one.abilities('good'))

    def test_what_is_no_mounter_is_as_if_it_were_not_there(self) -> None:
        one = self.mounters()
        for name in ('broken', 'text', 'undeclared'):
            self.assertIsNone(one.get(name))
            self.assertIsNone(one.abilities(name))
        self.assertEqual(frozenset(('nbdkit',)), one.programs())

    def test_the_one_that_is_missing_is_named(self) -> None:
        error = self.assertRaises(exception.ConfigError, loader.load,
                                  'nobodys')
        self.assertIn('nobodys', str(error))
