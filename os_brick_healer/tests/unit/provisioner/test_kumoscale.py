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
import dataclasses
import time
from typing import Any

from bed.guest import kumoscale as server
from bed.guest import provisioner as array
from os_brick_healer import exception
from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.provisioner import kumoscale
from os_brick_healer.tests.unit.provisioner import kumoscale_case

HERE, THERE = kumoscale_case.HERE, kumoscale_case.THERE


class SentenceTest(kumoscale_case.KumoScaleTestCase):
    def test_an_operator_reads_who_this_host_is_to_it(self) -> None:
        self.assertTrue(self.ours.probe().endswith(f', as host {HERE.name}'))


class RequestsTest(kumoscale_case.KumoScaleTestCase):
    def requests(self) -> int:
        before = self.ours.requests
        self.ours.volumes()
        return self.ours.requests - before

    def test_requests_do_not_grow_with_the_volumes(self) -> None:
        self.one_volume()
        self.ours.volumes()  # learns what this KumoScale can be asked
        few = self.requests()
        for _ in range(20):
            self.one_volume()
        self.assertEqual(few, self.requests())
        self.assertEqual(6, few)  # two of them for the other host

    def test_a_pass_takes_time_in_step_with_the_volumes(self) -> None:
        # Comparing each volume with each target took minutes here.
        for _ in range(400):
            self.one_volume()
        self.ours.volumes()
        began_s = time.thread_time()
        self.assertEqual(400, len(self.ours.volumes()))
        self.assertLess(time.thread_time() - began_s, 2.0)

    def test_no_volumes_take_one_request(self) -> None:
        self.assertEqual(1, self.requests())

    def test_requests_do_not_grow_with_the_hosts(self) -> None:
        for number in range(30):
            self.array.probe(array.Host(
                id=f'host-{number}', nqn=f'nqn.h{number}', name=f'h{number}',
                client_type='Agent', version='1', duration_s=30,
                probed_at_s=0.0))
        self.one_volume()
        self.ours.volumes()
        self.assertEqual(5, self.requests())


class _SilentArray(array.Provisioner):
    """Its targets name neither their volume nor their host."""

    def targets_json(self, host_id: str | None,
                     volume_id: str | None) -> list[dict[str, Any]]:
        return [{key: value for key, value in entry.items()
                 if key not in ('hostId', 'volId', 'hostNqn')}
                for entry in super().targets_json(host_id, volume_id)]


class _TargetPerHostArray(_SilentArray):
    """Another host reaches the same replica by a target of its own."""

    def targets_json(self, host_id: str | None,
                     volume_id: str | None) -> list[dict[str, Any]]:
        ours = super().targets_json(HERE.uuid, volume_id)
        theirs = super().targets_json(THERE.uuid, volume_id)
        for entry in theirs:
            entry['targetName'] += ':theirs'
        return {HERE.uuid: ours, THERE.uuid: theirs}.get(
            host_id, [*ours, *theirs])


class _StrangersArray(array.Provisioner):
    """Asked for one host's targets, it tells of another's."""

    lies = False

    def targets_json(self, host_id: str | None,
                     volume_id: str | None) -> list[dict[str, Any]]:
        told = super().targets_json(host_id, volume_id)
        return [{**entry, 'hostId': 'somebody-else'} if self.lies else entry
                for entry in told]


class StrangersTest(kumoscale_case.KumoScaleTestCase):
    options = {'array_type': _StrangersArray}

    def test_an_answer_about_another_host_is_not_believed(self) -> None:
        name, _ = self.one_volume()
        lying = self.array
        assert isinstance(lying, _StrangersArray)
        lying.lies = True
        with self.assertRaisesRegex(exception.ProvisionerNonsense,
                                    'somebody-else'):
            self.ours.volumes()
        lying.lies = False
        self.assertEqual({name}, set(self.ours.volumes()))


class _ForgetfulArray(array.Provisioner):
    """Its list of hosts may be empty."""

    forgets = False

    def hosts(self) -> list[array.Host]:
        return [] if self.forgets else super().hosts()


class OtherHostsTest(kumoscale_case.KumoScaleTestCase):
    options = {'array_type': _ForgetfulArray}

    def test_a_list_of_hosts_that_leaves_us_out_is_not_believed(
            self) -> None:
        name, _ = self.one_volume(HERE, THERE)
        forgetful = self.array
        assert isinstance(forgetful, _ForgetfulArray)
        forgetful.forgets = True
        self.assertIn(name, self.ours.volumes())    # maybe none is shown us
        forgetful.forgets = False
        both = self.ours.volumes()[name].hosts
        self.assertEqual({HERE.name, THERE.name}, both)
        forgetful.forgets = True
        with self.assertRaisesRegex(exception.ProvisionerNonsense,
                                    'is left out now'):
            self.ours.volumes()
        forgetful.forgets = False
        self.assertEqual(both, self.ours.volumes()[name].hosts)


class _TornArray(array.Provisioner):
    """It forgets all targets in the middle of a pass."""

    told = True         # targets name their volume
    left: int | None = None
    asked = 0

    def targets_json(self, host_id: str | None,
                     volume_id: str | None) -> list[dict[str, Any]]:
        self.asked += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                return []
        return [{key: value for key, value in entry.items()
                 if key != 'volId' or self.told}
                for entry in super().targets_json(host_id, volume_id)]


class _TornSilentArray(_TornArray):
    told = False


class TornTest(kumoscale_case.KumoScaleTestCase):
    options = {'array_type': _TornArray}

    def test_who_else_holds_a_volume_is_not_forgotten(self) -> None:
        name, _ = self.one_volume(HERE, THERE)
        torn = self.array
        assert isinstance(torn, _TornArray)
        both = self.ours.volumes()[name].hosts
        self.assertEqual({HERE.name, THERE.name}, both)
        torn.asked = 0
        self.assertEqual(both, self.ours.volumes()[name].hosts)
        for left in range(1, torn.asked):
            torn.left = left
            with self.assertRaisesRegex(exception.ProvisionerNonsense,
                                        'is left out now'):
                self.ours.volumes()
        torn.left = 0       # from the first on: it names no volume
        self.assertEqual({}, self.ours.volumes())
        torn.left = None
        self.assertEqual(both, self.ours.volumes()[name].hosts)

    def test_one_whose_other_hosts_have_none_is_believed(self) -> None:
        name, _ = self.one_volume(HERE)
        for _ in range(2):
            self.assertEqual({HERE.name}, self.ours.volumes()[name].hosts)


class TornSilentTest(kumoscale_case.KumoScaleTestCase):
    options = {'array_type': _TornSilentArray}

    def test_who_else_holds_a_volume_is_not_forgotten(self) -> None:
        name, _ = self.one_volume(HERE, THERE)
        torn = self.array
        assert isinstance(torn, _TornArray)
        torn.left = 2       # ours, ours of the volume; not yet who holds it
        self.assertEqual({HERE.name}, self.ours.volumes()[name].hosts)
        torn.left = None
        both = self.ours.volumes()[name].hosts
        self.assertEqual({HERE.name, THERE.name}, both)
        torn.left = 2
        with self.assertRaisesRegex(exception.ProvisionerNonsense,
                                    'is left out now'):
            self.ours.volumes()


class SilentTargetsTest(kumoscale_case.KumoScaleTestCase):
    options = {'array_type': _SilentArray}

    def test_only_our_volumes_are_listed(self) -> None:
        ours, _ = self.one_volume(HERE)
        self.one_volume(THERE)
        self.one_volume(THERE)
        found = self.ours.volumes()
        self.assertEqual([ours], list(found))
        self.assertTrue(all(one.portals for one in found[ours].replicas))

    def test_who_holds_a_volume_is_not_known(self) -> None:
        ours, _ = self.one_volume(HERE)
        self.assertIsNone(self.ours.volumes()[ours].hosts)

    def test_what_is_not_ours_is_not_asked_for_each_time(self) -> None:
        self.one_volume(HERE)
        for _ in range(5):
            self.one_volume(THERE)
        self.ours.volumes()
        before = self.ours.requests
        self.ours.volumes()
        self.assertEqual(6, self.ours.requests - before)

    def test_what_we_publish_is_ours_at_once(self) -> None:
        self.one_volume(HERE)
        name, _ = self.one_volume(THERE)
        self.assertNotIn(name, self.ours.volumes())
        self.ours.publish(name)
        self.assertIn(name, self.ours.volumes())


class TargetPerHostTest(kumoscale_case.KumoScaleTestCase):
    options = {'array_type': _TargetPerHostArray}

    def test_a_target_that_is_not_ours_betrays_another_host(self) -> None:
        ours, _ = self.one_volume(HERE)
        both, _ = self.one_volume(HERE, THERE)
        found = self.ours.volumes()
        self.assertEqual({HERE.name, kumoscale.SOMEBODY}, found[both].hosts)
        self.assertIsNone(found[ours].hosts)


class HostTest(kumoscale_case.KumoScaleTestCase):
    def test_a_host_without_a_uuid_is_found_by_its_nqn(self) -> None:
        name, _ = self.one_volume()
        nameless = self.plugin(dataclasses.replace(HERE, uuid=None))
        self.assertIn(name, nameless.volumes())

    def test_a_host_that_nobody_knows_is_refused(self) -> None:
        made = self.world.make_provisioner(dataclasses.replace(
            HERE, uuid=None, nqn='nqn.unknown'))
        self.addCleanup(made.close)
        self.assertIn('nqn.unknown', str(self.assertRaises(
            exception.ProvisionerRefused, made.volumes)))

    def test_a_name_is_written_as_cinder_writes_it(self) -> None:
        self.assertEqual('compute-1-example-org',
                         kumoscale.host_name('Compute-1.example.org'))
        self.assertEqual(32, len(kumoscale.host_name('c' * 33)))

    def test_what_cannot_be_reported_is_refused(self) -> None:
        name, legs = self.one_volume()
        for state in (provisioner.ReplicaState.TERMINATING,
                      provisioner.ReplicaState.UNKNOWN):
            self.assertRaises(
                exception.ProvisionerRefused, self.ours.report, name,
                provisioner.ReplicaId(legs[0]), state)


class AccessTest(kumoscale_case.KumoScaleTestCase):
    options = {'addresses': ('127.0.0.1', '127.0.0.2'),
               'client_certificate': True}

    def test_the_second_address_serves_when_the_first_is_down(self) -> None:
        name, _ = self.one_volume()
        for fault in (server.Fault.DOWN, server.Fault.ERROR_500,
                      server.Fault.SLOW, server.Fault.WRONG_CERTIFICATE):
            plugin = self.plugin(HERE)
            self.world.server.break_down(fault, address='127.0.0.1')
            self.assertIn(name, plugin.volumes())
            self.world.server.mend()

    def test_the_client_certificate_is_needed(self) -> None:
        self.world.path.write_text('\n'.join(
            line for line in self.world.path.read_text().splitlines()
            if 'cert_file' not in line))
        made = self.world.make_provisioner(HERE)
        self.addCleanup(made.close)
        self.assertRaises(exception.ProvisionerUnreachable, made.volumes)


class ContradictionTest(kumoscale_case.KumoScaleTestCase):
    def test_an_answer_that_contradicts_itself_harms_nothing(self) -> None:
        name, _ = self.one_volume()
        self.world.server.break_down(server.Fault.CONTRADICTION)
        for _ in range(6):
            try:
                found = self.ours.volumes()
            except exception.ProvisionerError:
                continue
            self.assertIn(name, found)
        self.assertEqual({'Available'}, set(self.states(name).values()))

    def test_a_replica_of_two_volumes_is_nonsense_in_both(self) -> None:
        names = [self.one_volume()[0] for _ in range(3)]
        first, second, _ = map(self.array.volume, names)
        second.replicas[0].id = first.replicas[0].id
        found = self.ours.volumes()
        self.assertIsNotNone(found[names[0]].nonsense)
        self.assertIsNotNone(found[names[1]].nonsense)
        self.assertIsNone(found[names[2]].nonsense)
