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
"""The simulated host with mapped volumes keeps the terms of a real one."""

from collections.abc import Callable
import errno
import random

from bed.guest import lab as lab_lib
from bed.guest import nbd_terms
from os_brick_healer.connector import mapper
from os_brick_healer.mapping import act, model
from os_brick_healer.sysfs import reader
from os_brick_healer.tests import base
from os_brick_healer.tests.contract import virtual
from os_brick_healer.tests.simulation.mapping import (
    nova,
    parts,
    world,
)

SEEDS = 3


class Simulated(virtual.Lab):
    """A lab in virtual time. See ``nbd_terms.NbdLab``."""

    def __init__(self, seed: str, kind: str, directory: str) -> None:
        self.world: world.World = world.World(
            seed, world.Setup(volumes=1, kinds=(kind,)), directory)
        self.key = next(iter(self.world.volumes))
        self._nova = nova.Nova(self.world, f'{directory}/journal')
        self._mapper: mapper.Mapper = self._nova._mapper
        self._names: set[str] = set()
        self.world.nbd.listeners.append(self._names.add)
        self._nova.do('attach', self.key)
        self.rest(2.0)
        found = self._mapper._known(self.key)
        assert found is not None
        self.mapping: model.Mapping = found
        self._last = self.server

    def describe(self) -> str:
        return self.world.describe(self.key)

    @property
    def hands(self) -> act.Hands:
        return self._mapper.hands

    @property
    def tree(self) -> reader.Tree:
        return self.world.tree

    @property
    def server(self) -> model.Process:
        found = self.world.processes.servers(self.key)
        if found:
            self._last = model.Process(pid=found[0].pid,
                                       start=found[0].start)
        return self._last

    def signal(self, what: str) -> None:
        processes = self.world.processes
        proc = processes.by_pid[self.server.pid]
        if what == nbd_terms.KILL:
            processes.kill(proc)
        elif what == nbd_terms.STOP:
            processes.stop(proc, parts.STOPPED)
        else:
            processes.go_on(proc)

    def told(self) -> frozenset[str]:
        names = frozenset(self._names)
        self._names.clear()
        return names

    def grow(self) -> int:
        image = self.world.images[self.key]
        image.size_bytes *= 2
        return image.size_bytes

    def reconfigure(self, cookie: str, *,
                    ended: bool = False) -> Callable[[], None]:
        processes, image = self.world.processes, self.world.images[self.key]
        second = processes.spawn(('second',), None, image)
        device = self.world.nbd.with_cookie(self.key)
        if device is None:
            raise OSError(errno.ENODEV, 'no such device')
        if ended:
            processes.kill(second)
        try:
            self.world.nbd.reconfigure(
                parts.Link(proc=second), device.index, cookie=cookie,
                size_bytes=image.size_bytes, reattach_s=device.reattach_s)
        except OSError:
            processes.kill(second)
            raise
        return lambda: processes.kill(second)

    def flows(self, within_s: float) -> bool:
        """The guest gets to write, and nothing that it waits for is old."""
        guest = self.world.guests[self.key]
        begun_s = self.world.time.now_s

        def _new() -> bool:
            guest.turn()
            return all(r.since_s >= begun_s for r in guest.under_way) and (
                guest.acknowledged_s > begun_s)

        while not _new():
            if self.world.time.now_s >= begun_s + within_s:
                return False
            self.rest(virtual.STEP_S)
        return not guest.errors

    def close(self) -> None:
        """Nothing is lost, and nothing is left."""
        self.world.court.data(self.key)
        guest = self.world.guests[self.key]
        guest.device = None
        self.until('the guest has stopped', lambda: not guest.under_way,
                   lab_lib.SOON_S)
        nbd_terms.unmapped(self, lambda: self.do(lambda: self._mapper.unmap(
            self.key, self.world.volumes[self.key].mounter,
            self.world.images[self.key].source)))
        self.world.close()


class TermsTest(base.TestCase):

    def test_the_simulated_host_keeps_every_term(self) -> None:
        for term in nbd_terms.TERMS:
            for seed in range(SEEDS):
                kind = random.Random(seed).choice((parts.FILE, parts.RBD))
                with self.subTest(term=term.__name__, kind=kind, seed=seed):
                    lab = Simulated(f'{term.__name__}/{seed}', kind,
                                    str(self.temp_dir()))
                    term(lab)
                    lab.close()
                    self.assertEqual([], lab.world.court.broken)

    def test_the_bed_plays_the_same_terms(self) -> None:
        written = {name for name, thing in vars(nbd_terms).items()
                   if callable(thing) and getattr(
                       thing, '__annotations__', None)
                   == {'lab': nbd_terms.NbdLab, 'return': None}}
        played = {term.__name__ for term in nbd_terms.TERMS}
        self.assertEqual({'heal', 'die'}, written - played)
        self.assertEqual(set(), played - written)
