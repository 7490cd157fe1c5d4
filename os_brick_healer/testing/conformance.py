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
"""The suite that a vendor runs over a provisioner plugin.

Bring a World: the plugin, and a storage system (or one that behaves like
it) in which volumes can be made and trouble be caused. Then::

    class MyConformanceTest(conformance.ProvisionerConformance,
                            testtools.TestCase):
        def make_world(self) -> conformance.World:
            return MyWorld()

The suite holds the plugin to the interface's promises and to each guarantee
that the plugin itself declares. It judges by what the storage system shows
afterwards, not by what the plugin called.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import re
import threading
import time
import traceback
from typing import TYPE_CHECKING
import uuid

from os_brick_healer import exception
from os_brick_healer.provisioner import base
from os_brick_healer.testing.world import HERE, THERE, Trouble, World

__all__ = ('HERE', 'SEEN_WITHIN_S', 'THERE', 'ProvisionerConformance',
           'Trouble', 'World')

if TYPE_CHECKING:
    import testtools

    _TestCase = testtools.TestCase
else:
    _TestCase = object

_UUID = re.compile(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}')
_THREADS = 8
_ROUNDS = 5
#: A change may be seen this much later than it was accepted.
SEEN_WITHIN_S = 10.0


class ProvisionerConformance(_TestCase):
    """Mix this into a testtools.TestCase and say which World."""

    world: World
    provisioner: base.Provisioner

    def make_world(self) -> World:
        """A new World."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.world = self.make_world()
        self.addCleanup(self.world.close)
        self.provisioner = self.new_provisioner(HERE)

    def new_provisioner(self, host: base.HostIdentity) -> base.Provisioner:
        """An instance of the plugin, registered and closed at the end."""
        made = self.world.make_provisioner(host)
        self.addCleanup(made.close)
        made.probe()
        return made

    # -- what is declared --

    def test_guarantees_are_declared(self) -> None:
        self.assertIsInstance(self.provisioner.guarantees, base.Guarantees)

    def test_probe_says_one_printable_sentence(self) -> None:
        sentence = self.provisioner.probe()
        self.assertTrue(sentence)
        self.assertTrue(sentence.isprintable(), repr(sentence))
        self.assert_no_secret(sentence)

    def test_closing_twice_is_no_error(self) -> None:
        self.provisioner.close()
        self.provisioner.close()

    def test_its_own_text_holds_no_secret(self) -> None:
        self.assert_no_secret(repr(self.provisioner))
        self.assert_no_secret(str(self.provisioner))

    def test_this_world_can_try_all_that_the_suite_tries(self) -> None:
        untried = list(self.untried())
        if untried:
            self.skipTest('nobody tried: ' + '; '.join(untried))

    def untried(self) -> Iterator[str]:
        """What other tests skip, and why, in one list."""
        for kind in Trouble:
            if kind not in self.world.troubles:
                yield f'{kind.name} ({kind.value}; World.troubles)'
        if self.world.lost_answer() is None:
            yield 'an answer that is lost (World.lost_answer)'
        if self.world.requests() is None:
            yield 'how many requests are made (World.requests)'
        for name in ('batch', 'knows_hosts', 'idempotent_replacement'):
            if not getattr(self.provisioner.guarantees, name):
                yield f'{name} (the plugin does not promise it)'

    # -- what there is --

    def test_no_volumes_are_an_empty_list(self) -> None:
        self.assertEqual({}, dict(self.provisioner.volumes()))

    def test_a_published_volume_is_listed_in_full(self) -> None:
        name = self.world.create_volume([HERE], replicas=2)
        listed = self.provisioner.volumes()
        self.assertEqual([name], list(listed))
        self.check_volume(listed[name], name, replicas=2)

    def test_three_replicas_are_three(self) -> None:
        name = self.world.create_volume([HERE], replicas=3)
        self.check_volume(self.volume(name), name, replicas=3)

    def test_another_hosts_volume_is_not_listed(self) -> None:
        self.new_provisioner(THERE)
        theirs = self.world.create_volume([THERE])
        ours = self.world.create_volume([HERE])
        listed = self.provisioner.volumes()
        self.assertNotIn(theirs, listed)
        self.assertIn(ours, listed)

    def test_a_volume_of_two_hosts_is_said_to_be(self) -> None:
        self.new_provisioner(THERE)
        name = self.world.create_volume([HERE, THERE])
        holders = self.volume(name).hosts
        if holders is None:
            self.assertFalse(self.provisioner.guarantees.knows_hosts)
            self.skipTest('the plugin does not know who holds a volume')
        self.assertIn(HERE.name, holders)
        self.assertEqual(2, len(holders))

    def test_a_volume_of_one_host_is_said_to_be(self) -> None:
        self.new_provisioner(THERE)
        name = self.world.create_volume([HERE])
        self.world.create_volume([THERE])
        holders = self.volume(name).hosts
        if holders is None:
            self.assertFalse(self.provisioner.guarantees.knows_hosts)
            self.skipTest('the plugin does not know who holds a volume')
        self.assertEqual({HERE.name}, set(holders))

    def test_a_deleted_volume_is_gone(self) -> None:
        name = self.world.create_volume([HERE])
        self.assertIn(name, self.provisioner.volumes())
        self.world.delete_volume(name)
        self.eventually(lambda: name not in self.provisioner.volumes())

    def test_the_answer_is_fresh(self) -> None:
        first = self.world.create_volume([HERE])
        self.provisioner.volumes()
        second = self.world.create_volume([HERE])
        self.eventually(
            lambda: {first, second} == set(self.provisioner.volumes()))

    def test_more_volumes_take_no_more_requests(self) -> None:
        if not self.provisioner.guarantees.batch:
            self.skipTest('the plugin does not promise it')
        self.world.create_volume([HERE])
        self.provisioner.volumes()
        few = self.requests_of_a_pass()
        for _ in range(9):
            self.world.create_volume([HERE])
        self.assertEqual(few, self.requests_of_a_pass())

    # -- publish --

    def test_publishing_makes_a_volume_ours(self) -> None:
        name = self.world.create_volume([])
        self.assertNotIn(name, self.provisioner.volumes())
        self.provisioner.publish(name)
        self.eventually(lambda: name in self.provisioner.volumes())
        self.check_volume(self.volume(name), name, replicas=2)

    def test_publishing_twice_is_publishing_once(self) -> None:
        name = self.world.create_volume([HERE])
        before = self.volume(name)
        self.provisioner.publish(name)
        self.provisioner.publish(name)
        self.assertEqual(before, self.volume(name))

    # -- report --

    def test_what_is_reported_missing_is_missing_for_everybody(self) -> None:
        there = self.new_provisioner(THERE)
        name = self.world.create_volume([HERE, THERE])
        lost, kept = self.volume(name).replicas
        self.provisioner.report(name, lost.id, base.ReplicaState.MISSING)
        for who in (self.provisioner, there):
            self.eventually_states(name, who, {
                lost.id: base.ReplicaState.MISSING,
                kept.id: base.ReplicaState.AVAILABLE})

    def test_what_is_reported_missing_stays_listed(self) -> None:
        name = self.world.create_volume([HERE])
        before = self.volume(name)
        self.provisioner.report(name, before.replicas[0].id,
                                base.ReplicaState.MISSING)
        self.assertEqual([one.id for one in before.replicas],
                         [one.id for one in self.volume(name).replicas])

    def test_reporting_again_changes_nothing(self) -> None:
        name = self.world.create_volume([HERE])
        lost = self.volume(name).replicas[0].id
        self.provisioner.report(name, lost, base.ReplicaState.MISSING)
        before = self.volume(name)
        self.provisioner.report(name, lost, base.ReplicaState.MISSING)
        self.assertEqual(before, self.volume(name))

    def test_available_takes_missing_back(self) -> None:
        name = self.world.create_volume([HERE])
        before = self.states(name)
        lost = next(iter(before))
        for state in (base.ReplicaState.MISSING,
                      base.ReplicaState.SYNCHRONIZING,
                      base.ReplicaState.AVAILABLE):
            self.provisioner.report(name, lost, state)
            self.eventually_states(name, self.provisioner,
                                   {**before, lost: state})

    # -- replace --

    def test_a_replacement_comes_and_the_lost_one_stays(self) -> None:
        name, lost, new = self.replaced()
        states = self.states(name)
        self.assertIn(states[lost], base.BAD_STATES)
        self.assertNotIn(states[new], base.BAD_STATES)
        self.assertEqual(3, len(states))

    def test_a_replacement_can_be_published(self) -> None:
        name, _, new = self.replaced()
        self.provisioner.publish(name)
        self.eventually(lambda: bool(self.replica(name, new).portals))
        found = self.replica(name, new)
        self.assertIsNotNone(found.nqn)
        self.assertRegex(found.namespace_uuid or '', _UUID)

    def test_one_request_is_one_replica(self) -> None:
        name, lost, _ = self.replaced('request-1')
        self.provisioner.request_replacement(name, lost, 'request-1')
        self.assertEqual(3, len(self.states(name)))

    def test_one_request_is_one_replica_after_a_restart(self) -> None:
        if not self.provisioner.guarantees.idempotent_replacement:
            self.skipTest('the plugin does not promise it')
        name, lost, _ = self.replaced('request-1')
        again = self.new_provisioner(HERE)
        again.request_replacement(name, lost, 'request-1')
        self.assertEqual(3, len(self.states(name)))

    def test_one_request_is_one_replica_though_its_answer_is_lost(
            self) -> None:
        losing = self.world.lost_answer()
        if losing is None:
            self.skipTest('this world cannot lose an answer')
        name = self.world.create_volume([HERE])
        lost = self.lose(name)
        with losing:
            self.attempt(lambda: self.provisioner.request_replacement(
                name, lost, 'request-1'))
        self.attempt(lambda: self.provisioner.request_replacement(
            name, lost, 'request-1'))
        self.eventually(lambda: len(self.states(name)) == 3)
        self.attempt(lambda: self.provisioner.request_replacement(
            name, lost, 'request-1'))
        self.assertEqual(3, len(self.states(name)))

    def test_many_threads_with_one_request_get_one_replica(self) -> None:
        name = self.world.create_volume([HERE])
        lost = self.lose(name)
        self.in_threads([
            lambda: self.provisioner.request_replacement(
                name, lost, 'request-1')] * _THREADS)
        self.eventually(lambda: len(self.states(name)) == 3)

    # -- remove --

    def test_a_confirmed_replica_is_gone(self) -> None:
        name, lost, new = self.replaced()
        self.provisioner.report(name, new, base.ReplicaState.AVAILABLE)
        kept = self.states(name).keys() - {lost}
        self.provisioner.confirm_removal(name, lost)
        self.eventually(lambda: self.states(name).keys() == kept)
        self.assertEqual({base.ReplicaState.AVAILABLE},
                         set(self.states(name).values()))

    def test_confirming_again_is_no_error(self) -> None:
        name, lost, new = self.replaced()
        self.provisioner.report(name, new, base.ReplicaState.AVAILABLE)
        self.provisioner.confirm_removal(name, lost)
        before = self.volume(name)
        self.provisioner.confirm_removal(name, lost)
        self.assertEqual(before, self.volume(name))

    def test_confirming_what_never_was_is_no_error(self) -> None:
        name = self.world.create_volume([HERE])
        before = self.volume(name)
        self.provisioner.confirm_removal(name, _no_replica())
        self.provisioner.confirm_removal(_no_volume(), _no_replica())
        self.assertEqual(before, self.volume(name))

    # -- refuse --

    def test_an_unknown_volume_is_refused(self) -> None:
        name, replica = _no_volume(), _no_replica()
        self.check_refused('volume', {
            'report': lambda: self.provisioner.report(
                name, replica, base.ReplicaState.MISSING),
            'request_replacement':
                lambda: self.provisioner.request_replacement(
                    name, replica, 'request-1'),
            'publish': lambda: self.provisioner.publish(name)})
        self.assertEqual({}, dict(self.provisioner.volumes()))

    def test_an_unknown_replica_is_refused(self) -> None:
        name = self.world.create_volume([HERE])
        before, replica = self.volume(name), _no_replica()
        self.check_refused('replica', {
            'report': lambda: self.provisioner.report(
                name, replica, base.ReplicaState.MISSING),
            'request_replacement':
                lambda: self.provisioner.request_replacement(
                    name, replica, 'request-1')})
        self.assertEqual(before, self.volume(name))

    def check_refused(self, what: str,
                      calls: Mapping[str, Callable[[], object]]) -> None:
        """Each call about a thing that is not there is refused."""
        for name, call in calls.items():
            error = self.attempt(call)
            self.assertIsInstance(
                error, exception.ProvisionerRefused,
                f'{name}() of an unknown {what} must raise '
                f'ProvisionerRefused; it {_did(error)}')

    # -- trouble --

    def test_trouble_down(self) -> None:
        self.check_trouble(Trouble.DOWN, exception.ProvisionerUnreachable)

    def test_trouble_slow(self) -> None:
        self.check_trouble(Trouble.SLOW, exception.ProvisionerUnreachable)

    def test_trouble_error(self) -> None:
        self.check_trouble(Trouble.ERROR)

    def test_trouble_garbage(self) -> None:
        self.check_trouble(Trouble.GARBAGE)

    def test_trouble_untrusted(self) -> None:
        self.check_trouble(Trouble.UNTRUSTED)

    def test_trouble_denied(self) -> None:
        self.check_trouble(Trouble.DENIED, exception.ProvisionerRefused)

    def check_trouble(
            self, kind: Trouble,
            expected: type[exception.ProvisionerError] =
            exception.ProvisionerError) -> None:
        """Nothing but an error in time; afterwards all is well again."""
        if kind not in self.world.troubles:
            self.skipTest('this world cannot cause it')
        ours = self.world.create_volume([HERE])
        victim = self.world.create_volume([HERE])
        before, lost = self.volume(ours), self.lose(victim)
        calls: dict[str, Callable[[], object]] = {
            'probe': self.provisioner.probe,
            'volumes': self.provisioner.volumes,
            'publish': lambda: self.provisioner.publish(victim),
            'report': lambda: self.provisioner.report(
                victim, lost, base.ReplicaState.MISSING),
            'request_replacement':
                lambda: self.provisioner.request_replacement(
                    victim, lost, 'request-1'),
            'confirm_removal':
                lambda: self.provisioner.confirm_removal(victim, lost)}
        with self.world.trouble(kind):
            for name, call in calls.items():
                error = self.attempt(call)
                self.assertIsInstance(
                    error, expected,
                    f'{name}() must raise {expected.__name__} when '
                    f'{kind.value}; it {_did(error)}')
        self.eventually(lambda: self.volume(ours) == before)

    def test_many_threads_do_not_disturb_each_other(self) -> None:
        names = [self.world.create_volume([HERE]) for _ in range(_THREADS)]
        lost = {name: self.volume(name).replicas[0].id for name in names}

        def work(name: base.VolumeId) -> None:
            for _ in range(_ROUNDS):
                for state in (base.ReplicaState.AVAILABLE,
                              base.ReplicaState.MISSING):
                    self.provisioner.report(name, lost[name], state)
                if len(self.provisioner.volumes()) != _THREADS:
                    raise AssertionError('a volume is not listed')

        self.in_threads([
            lambda name=name: work(name)  # type: ignore[misc]
            for name in names])
        for name in names:
            self.assertIs(base.ReplicaState.MISSING,
                          self.states(name)[lost[name]])

    # -- the means --

    def volume(self, name: base.VolumeId,
               who: base.Provisioner | None = None) -> base.Volume:
        """The volume as the plugin lists it, once it does."""
        who = who or self.provisioner
        self.eventually(lambda: name in who.volumes())
        return who.volumes()[name]

    def replica(self, name: base.VolumeId,
                replica: base.ReplicaId) -> base.Replica:
        """One replica of a volume."""
        return {one.id: one for one in self.volume(name).replicas}[replica]

    def states(self, name: base.VolumeId,
               who: base.Provisioner | None = None
               ) -> dict[base.ReplicaId, base.ReplicaState]:
        """The states of a volume's replicas."""
        return {one.id: one.state for one in self.volume(name, who).replicas}

    def eventually_states(
            self, name: base.VolumeId, who: base.Provisioner,
            expected: dict[base.ReplicaId, base.ReplicaState]) -> None:
        """Wait until the replicas' states are as expected."""
        self.eventually(lambda: self.states(name, who) == expected)

    def lose(self, name: base.VolumeId) -> base.ReplicaId:
        """Report the first replica missing."""
        lost = self.volume(name).replicas[0].id
        self.provisioner.report(name, lost, base.ReplicaState.MISSING)
        return lost

    def replaced(self, request_id: str = 'request-1'
                 ) -> tuple[base.VolumeId, base.ReplicaId, base.ReplicaId]:
        """A volume, its lost replica, and the replacement."""
        name = self.world.create_volume([HERE])
        lost = self.lose(name)
        before = self.states(name).keys()
        self.provisioner.request_replacement(name, lost, request_id)
        self.eventually(lambda: len(self.states(name)) > len(before))
        new = self.states(name).keys() - before
        self.assertEqual(1, len(new))
        return name, lost, new.pop()

    def check_volume(self, found: base.Volume, name: base.VolumeId,
                     replicas: int) -> None:
        """A good volume, everything told."""
        self.assertIsNone(found.nonsense)
        self.assertEqual(name, found.id)
        self.assertTrue(found.alias)
        self.assertEqual(replicas, found.replica_count)
        self.assertEqual(replicas, len({one.id for one in found.replicas}))
        self.assertEqual(replicas, len(found.replicas))
        self.assertEqual(replicas, len(
            {(one.nqn, one.namespace_uuid) for one in found.replicas}))
        for one in found.replicas:
            self.assertIs(base.ReplicaState.AVAILABLE, one.state)
            self.assertTrue((one.nqn or '').startswith('nqn.'), one.nqn)
            self.assertRegex(one.namespace_uuid or '', _UUID)
            self.assertNotEqual((), one.portals)
            self.assertEqual(len(set(one.portals)), len(one.portals))
        if self.provisioner.guarantees.knows_hosts:
            self.assertIn(HERE.name, found.hosts or ())

    def attempt(self, call: Callable[[], object]
                ) -> exception.ProvisionerError | None:
        """Call; return the error that a plugin may raise, if it does."""
        began_s = time.monotonic()
        try:
            call()
        except exception.ProvisionerError as error:
            for text in (str(error), repr(error), error.hint or '',
                         ''.join(traceback.format_exception(error))):
                self.assert_no_secret(text)
            self.assertTrue(str(error).isprintable(), repr(str(error)))
            return error
        finally:
            took_s = time.monotonic() - began_s
            self.assertLess(took_s, self.world.deadline_s)
        return None

    def assert_no_secret(self, text: str) -> None:
        """No secret shows in text."""
        for secret in self.world.secrets:
            self.assertNotIn(secret, text)

    def eventually(self, true: Callable[[], bool]) -> None:
        """Wait until it is true; a provisioner may take its time."""
        give_up_s = time.monotonic() + SEEN_WITHIN_S
        while not true():
            if time.monotonic() > give_up_s:
                self.fail('it did not become true within '
                          f'{SEEN_WITHIN_S:g} s')
            time.sleep(0.05)

    def requests_of_a_pass(self) -> int:
        """How many requests one volumes() takes."""
        before = self.world.requests()
        self.provisioner.volumes()
        after = self.world.requests()
        if before is None or after is None:
            self.skipTest('this world does not count requests')
        return after - before

    def in_threads(self, works: Sequence[Callable[[], object]]) -> None:
        """Run all at once; fail with the first error."""
        errors: list[BaseException] = []

        def run(work: Callable[[], object]) -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        threads = [threading.Thread(target=run, args=(work,), daemon=True)
                   for work in works]
        for thread in threads:
            thread.start()
        give_up_s = time.monotonic() + 2 * _ROUNDS * self.world.deadline_s
        for thread in threads:
            thread.join(max(0.0, give_up_s - time.monotonic()))
            self.assertFalse(thread.is_alive(), 'a thread never ends')
        if errors:
            raise errors[0]


def _no_volume() -> base.VolumeId:
    return base.VolumeId(str(uuid.uuid4()))


def _no_replica() -> base.ReplicaId:
    return base.ReplicaId(str(uuid.uuid4()))


def _did(error: exception.ProvisionerError | None) -> str:
    return ('raised nothing' if error is None
            else f'raised {type(error).__name__}: {error}')
