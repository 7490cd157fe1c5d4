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
"""The simulator's host keeps the terms of a real one."""

from bed.guest import lab as lab_lib
from bed.guest import terms
from os_brick_healer.replica import model, observe
from os_brick_healer.tests import base
from os_brick_healer.tests.contract import virtual
from os_brick_healer.tests.simulation import (
    fabric,
    looking,
    parts,
    tools,
    world,
)

SEEDS = 5
KINDS = {lab_lib.BLANK: 'good', lab_lib.SMALL: 'small',
         lab_lib.FOREIGN: 'foreign'}


class Simulated(virtual.Lab):
    """A lab in virtual time. See ``lab_lib.Lab``."""

    host_nqn = 'nqn.host'
    keep_alive_s = 3

    def __init__(self, seed: str) -> None:
        self.world: world.World = world.World(seed, world.Setup(
            volumes=1, foreign=False, keep_alive_s=self.keep_alive_s))
        self.key = next(iter(self.world.cloud.volumes))
        hands = tools.Tools(self.world, lambda _moment: None)
        self.md, self.nvme = hands, hands
        self._observer = looking.Observer(self.world)
        self._cuts: dict[model.ReplicaId, fabric.Cut] = {}

    @property
    def volume(self) -> model.Volume:
        return self.world.cloud.say()[model.VolumeId(self.key)]

    @property
    def array(self) -> parts.Array:
        return self.world.arrays[self.key]

    def look(self) -> observe.Observation:
        return self._observer.look(model.VolumeId(self.key), self.volume,
                                   self.array.uuid, {})

    def cut(self, replica: model.ReplicaId, how: str) -> None:
        target = self._disk(replica).nqn
        portals = self.world.fabric.targets[target].portals
        self._cuts[replica] = (
            fabric.Cut(parts.CLOSED, nqns=(target,)) if how == lab_lib.CLOSED
            else fabric.Cut(parts.SILENT, portals=portals))
        self.world.fabric.cut(self._cuts[replica])

    def mend(self, replica: model.ReplicaId) -> None:
        self.world.fabric.mend(self._cuts.pop(replica))

    def _disk(self, replica: model.ReplicaId) -> parts.Disk:
        return self.world.disks[replica]

    def add_replica(self, kind: str) -> model.ReplicaId:
        volume = self.world.cloud.volumes[self.key]
        taken = {int(self.world.fabric.targets[r.disk.nqn].portals[0].address
                     .rpartition('.')[2]) - 1
                 for r in volume.replicas.values()}
        free = next(b for b in range(self.world.setup.backends)
                    if b not in taken)
        made = self.world.make(self.key, volume.size_bytes, KINDS[kind], free)
        made.published = True
        volume.replicas[made.disk.id] = made
        return model.ReplicaId(made.disk.id)

    def flows(self, within_s: float) -> bool:
        end_s = self.world.time.now_s + within_s
        for _ in range(2):      # the first may have begun before
            self.world.md.write(self.array)
            self.world.time.advance(end_s, lambda: self.array.write is None)
        return self.array.write is None and not self.array.broken

    def legs_hold_every_write(self) -> bool:
        """With all that was cut mended; looked at from behind."""
        for replica in list(self._cuts):
            self.mend(replica)
        return self.flows(60.0) and all(
            self._disk(r).blocks == self.array.acked
            for r in lab_lib.in_sync(self))


class TermsTest(base.TestCase):

    def test_the_simulated_host_keeps_every_term(self) -> None:
        for term in terms.TERMS:
            for seed in range(SEEDS):
                with self.subTest(term=term.__name__, seed=seed):
                    lab = Simulated(f'{term.__name__}/{seed}')
                    term(lab)
                    self.assertTrue(lab.legs_hold_every_write(),
                                    f'{term.__name__} {seed}')
                    self.assertNotEqual([], lab_lib.in_sync(lab))

    def test_the_bed_plays_the_same_terms(self) -> None:
        # Written down only once: a term that is not in the list is played
        # by nobody.
        written = {name for name, thing in vars(terms).items()
                   if callable(thing) and not name.startswith('_')
                   and getattr(thing, '__annotations__', None)
                   == {'lab': lab_lib.Lab, 'return': None}}
        self.assertEqual({term.__name__ for term in terms.TERMS}, written)
