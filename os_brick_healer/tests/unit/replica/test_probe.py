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
"""Laws of probing portals. Only loopback is used."""

import socket
import threading
import time

from os_brick_healer.provisioner import base as provisioner
from os_brick_healer.replica import probe
from os_brick_healer.tests import base


def portal(address: str, port: int,
           transport: str = 'tcp') -> provisioner.Portal:
    return provisioner.Portal(address=address, port=port,
                              transport=transport)


def seconds(value: float | None) -> float:
    assert value is not None
    return value


class ProbeTestCase(base.TestCase):

    def listen(self, address: str = '127.0.0.1',
               backlog: int = 16) -> provisioner.Portal:
        family = socket.AF_INET6 if ':' in address else socket.AF_INET
        server = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(server.close)
        server.bind((address, 0))
        server.listen(backlog)
        return portal(address, server.getsockname()[1])

    def refusing(self) -> provisioner.Portal:
        server = socket.socket()
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
        server.close()
        return portal('127.0.0.1', port)

    def silent(self) -> provisioner.Portal:
        """A listener whose queue is full: handshakes get no answer."""
        found = self.listen(backlog=0)
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((found.address, found.port))
            self.addCleanup(filler.close)
        time.sleep(0.05)
        return found


class TestProbeNow(ProbeTestCase):

    def test_listening_answers_refused_and_silent_do_not(self) -> None:
        good, bad, mute = self.listen(), self.refusing(), self.silent()
        started_s = time.monotonic()
        found = probe.probe_now([good, bad, mute], deadline_s=0.3)
        self.assertEqual({good: True, bad: False, mute: False}, found)
        self.assertLess(time.monotonic() - started_s, base.PATIENCE_S)

    def test_refused_comes_back_at_once(self) -> None:
        started_s = time.monotonic()
        self.assertEqual([False], list(
            probe.probe_now([self.refusing()], deadline_s=30.0).values()))
        self.assertLess(time.monotonic() - started_s, base.PATIENCE_S)

    def test_version_six_is_probed_too(self) -> None:
        try:
            good = self.listen('::1')
        except OSError:
            self.skipTest('no IPv6 here')
        self.assertEqual({good: True}, probe.probe_now([good]))

    def test_one_is_enough_waits_for_no_other(self) -> None:
        good, mute = self.listen(), self.silent()
        started_s = time.monotonic()
        found = probe.probe_now([good, mute], deadline_s=30.0,
                                one_is_enough=True)
        self.assertTrue(found[good])
        self.assertNotIn(mute, found)
        self.assertLess(time.monotonic() - started_s, base.PATIENCE_S)

    def test_what_cannot_be_probed_has_no_answer(self) -> None:
        self.assertEqual({}, probe.probe_now([
            portal('127.0.0.1', 4420, 'rdma')]))

    def test_what_is_no_address_does_not_answer(self) -> None:
        wrong = portal('target.example', 4420)
        self.assertEqual({wrong: False}, probe.probe_now([wrong]))


class TestProber(ProbeTestCase):

    def prober(self, sockets_max: int = probe.SOCKETS_MAX
               ) -> probe.TcpProber:
        self.woken = threading.Semaphore(0)
        made = probe.TcpProber(
            deadline_s=0.2, wake=lambda _portal: self.woken.release(),
            sockets_max=sockets_max)
        self.addCleanup(made.stop)
        return made

    def test_a_bug_in_one_probe_does_not_end_probing(self) -> None:
        good = self.listen()
        calls: list[bool] = []

        def wake(_portal: provisioner.Portal) -> None:
            calls.append(True)
            if len(calls) == 1:
                raise RuntimeError('a bug in whoever is told')
            self.woken.release()

        made = self.prober()
        made._wake = wake
        made.ask([good])
        while not calls:
            time.sleep(0.01)
        for _ in range(50):     # whoever was in flight is asked for again
            made.ask([good])
            if self.woken.acquire(timeout=0.1):
                break
        self.assertTrue(made.result(good).answers)
        self.assertGreater(len(calls), 1)

    def ended(self, count: int = 1) -> None:
        for _ in range(count):
            self.assertTrue(self.woken.acquire(timeout=10.0))

    def test_a_portal_asked_for_while_it_takes_off_lands_once(self) -> None:
        good = self.listen()
        asked: list[bool] = []

        def clock() -> float:
            # The first reading is between the line and the flight.
            if not asked:
                asked.append(True)
                made.ask([good])
            return time.monotonic()

        woken = threading.Semaphore(0)
        made = probe.TcpProber(wake=lambda _portal: woken.release(),
                               clock=clock)
        self.addCleanup(made.stop)
        made.ask([good])
        for _ in range(3):
            self.assertTrue(woken.acquire(timeout=10.0))
            made.ask([good])

    def test_nothing_is_known_before_the_first_result(self) -> None:
        self.assertEqual(probe.Result(),
                         self.prober().result(self.listen()))

    def test_an_answer_is_known_with_its_age(self) -> None:
        prober, good = self.prober(), self.listen()
        prober.ask([good])
        self.ended()
        found = prober.result(good)
        self.assertIs(True, found.answers)
        self.assertEqual(0.0, found.silent_for_s)
        self.assertLess(seconds(found.age_s), 10.0)

    def test_silence_counts_from_the_first_probe_that_failed(self) -> None:
        prober, mute = self.prober(), self.silent()
        started_s = time.monotonic()
        prober.ask([mute])
        self.ended()
        first = prober.result(mute)
        self.assertIs(False, first.answers)
        # The deadline has passed since the probe began.
        self.assertGreaterEqual(seconds(first.silent_for_s), 0.19)
        prober.ask([mute])
        self.ended()
        second = prober.result(mute)
        self.assertGreaterEqual(seconds(second.silent_for_s),
                                seconds(first.silent_for_s) + 0.19)
        self.assertLessEqual(seconds(second.silent_for_s),
                             time.monotonic() - started_s)

    def test_an_answer_ends_the_silence(self) -> None:
        prober, bad = self.prober(), self.refusing()
        prober.ask([bad])
        self.ended()
        self.assertIs(False, prober.result(bad).answers)
        server = socket.socket()
        self.addCleanup(server.close)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((bad.address, bad.port))
        server.listen()
        prober.ask([bad])
        self.ended()
        self.assertEqual(0.0, prober.result(bad).silent_for_s)

    def test_asking_again_does_not_probe_twice_at_once(self) -> None:
        prober, mute = self.prober(), self.silent()
        for _ in range(50):
            prober.ask([mute])
        self.ended()
        self.assertFalse(self.woken.acquire(timeout=0.5))

    def test_sockets_are_bounded_and_everybody_gets_a_turn(self) -> None:
        prober = self.prober(sockets_max=2)
        portals = [self.silent() for _ in range(3)]
        portals += [self.listen() for _ in range(3)]
        prober.ask(portals)
        self.ended(len(portals))
        self.assertEqual(
            [False] * 3 + [True] * 3,
            [prober.result(one).answers for one in portals])

    def test_what_cannot_be_probed_stays_unknown(self) -> None:
        prober = self.prober()
        other = portal('127.0.0.1', 1, 'rdma')
        prober.ask([other])
        self.assertFalse(self.woken.acquire(timeout=0.2))
        self.assertIsNone(prober.result(other).answers)

    def test_a_stopped_prober_ignores_questions(self) -> None:
        prober, good = self.prober(), self.listen()
        prober.ask([good])
        self.ended()
        prober.stop()
        prober.ask([good])
        self.assertFalse(self.woken.acquire(timeout=0.2))
