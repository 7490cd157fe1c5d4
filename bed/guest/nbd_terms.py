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
"""What the simulated host with mapped volumes and a kernel must both keep.

As ``terms``, for nbd: calls of the hands and of the privileged side, and
looks through the healer's own eyes. ``tests.contract.test_mapped`` checks
them in virtual time, the scenario ``contract-nbd`` on Linux.

Each term begins with a new volume that is mapped, served and written to.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from bed.guest.lab import LATE_S, need, refused, SOON_S
from os_brick_healer import exception
from os_brick_healer.mapping import act, learn, model
from os_brick_healer.nbd import reads
from os_brick_healer.sysfs import nbd, process, reader

T = TypeVar('T')
KILL, STOP, GO_ON = 'kill', 'stop', 'go on'
READ_S = 3.0
TIMEOUT_S = 20.0
OTHER = 'ffffffff-aaaa-4bbb-8ccc-000000000000'


class NbdLab(Protocol):
    """A host with one mapped volume.

    :ivar mapping: as it was mapped.
    :ivar hands: the healer's.
    """

    mapping: model.Mapping

    @property
    def hands(self) -> act.Hands: ...

    @property
    def tree(self) -> reader.Tree:
        """What the healer's eyes read."""
        ...

    @property
    def server(self) -> model.Process:
        """The process that serves, or did last."""
        ...

    def do(self, call: Callable[[], T]) -> T:
        """Have something called, as the healer calls it."""
        ...

    def until(self, sentence: str, holds: Callable[[], bool],
              within_s: float) -> None:
        """Wait for it, or raise Broken with the sentence."""
        ...

    def rest(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def signal(self, what: str) -> None:
        """KILL, STOP or GO_ON, to the server."""
        ...

    def told(self) -> frozenset[str]:
        """Devices that lost a connection, since it was asked last."""
        ...

    def grow(self) -> int:
        """The data becomes larger; its size in bytes."""
        ...

    def reconfigure(self, cookie: str, *,
                    ended: bool = False) -> Callable[[], None]:
        """Give the device another server's connection, past all checks of
        ours; what ends that server, or ``ended``: it has ended when its
        connection is given. :raises OSError: the kernel refuses."""
        ...

    def flows(self, within_s: float) -> bool:
        """Whether what the guest writes from now on is acknowledged."""
        ...


# What is seen and done -----------

def device_of(lab: NbdLab) -> model.Device:
    name = lab.mapping.order.device
    assert name is not None
    found = nbd.device(lab.tree, name)
    need(found, f'{name} is there')
    assert found is not None
    return found


def lives(lab: NbdLab) -> bool:
    return process.same(lab.tree, lab.server) is not None


def read(lab: NbdLab, seconds: float = READ_S) -> str:
    return lab.do(lambda: lab.hands.nbd.flows(
        device=lab.mapping.order.device or '',
        volume=lab.mapping.order.volume, pid=lab.server.pid,
        start=lab.server.start, timeout_s=seconds))


def heal(lab: NbdLab) -> None:
    """As the wing does it: by the hands, on a fresh look."""
    order = lab.mapping.order
    attachment = model.Attachment(
        volume=order.volume, alias='lab', state=model.AttachState.ATTACHED,
        owner_alive=True, mapping=lab.mapping)
    outcome = lab.do(lambda: lab.hands.do(
        model.Serve(volume=order.volume, device=order.device or '',
                    mounter=lab.mapping.mounter),
        lambda: model.Seen(key=order.volume, now_s=0.0,
                           attachment=attachment, device=device_of(lab),
                           server=None),
        lambda _server: None))
    need(outcome.error is None, f'a new server serves ({outcome.error})')


def die(lab: NbdLab) -> None:
    lab.signal(KILL)
    lab.until('the server has ended', lambda: not lives(lab), SOON_S)


def hear(lab: NbdLab) -> set[str]:
    """Wait until the kernel tells of a death: of which devices."""
    heard: set[str] = set()

    def tells() -> bool:
        heard.update(lab.told())
        return bool(heard)

    lab.until('the kernel tells', tells, SOON_S)
    return heard


def set_timer(lab: NbdLab, timer_ms: int) -> bool:
    return lab.do(lambda: lab.hands.nbd.set_timer(
        device=lab.mapping.order.device or '',
        volume=lab.mapping.order.volume, timer_ms=timer_ms,
        timeout_s=TIMEOUT_S))


# Terms -----------

def what_is_mapped_shows_whose_it_is(lab: NbdLab) -> None:
    device = device_of(lab)
    need(device.connected, 'it is connected')
    need(device.cookie == lab.mapping.order.volume, 'it has the cookie')
    need(device.size_bytes == lab.mapping.size_bytes, 'it has the size')
    need(device.timer_ms == lab.mapping.timer_ms, 'it has the timer')
    need(read(lab) == 'read', 'a block can be read')
    need(lab.flows(SOON_S), 'the guest writes')


def a_death_is_told_and_the_device_stays(lab: NbdLab) -> None:
    lab.told()
    die(lab)
    heard = hear(lab)
    device = device_of(lab)
    need(heard == {device.name}, 'it tells which device it is')
    need(device.connected, 'it is still called connected')
    need(device.cookie == lab.mapping.order.volume, 'it keeps its cookie')
    heal(lab)
    need(lab.flows(LATE_S), 'it goes on with a new server')


def who_ended_before_it_was_given_is_told_as_dead(lab: NbdLab) -> None:
    """The kernel takes the socket, and finds it closed."""
    lab.told()
    die(lab)
    hear(lab)
    lab.reconfigure(lab.mapping.order.volume, ended=True)
    need(hear(lab) == {device_of(lab).name}, 'it tells which device it is')
    need(read(lab, 1.0) == learn.UNSENT, 'nobody serves it')
    heal(lab)
    need(lab.flows(LATE_S), 'it goes on with a new server')


def without_a_server_the_guest_waits(lab: NbdLab) -> None:
    die(lab)
    need(not lab.flows(3.0), 'a write waits, it does not fail')
    heal(lab)
    need(lab.flows(LATE_S), 'and goes on with a new server')


def what_waits_for_a_connection_is_not_under_way(lab: NbdLab) -> None:
    die(lab)
    lab.rest(1.0)
    need(read(lab) == learn.UNSENT, 'a read was not sent')
    heal(lab)
    lab.until('it comes back with a new server',
              lambda: read(lab) == 'read', LATE_S)


def what_a_stopped_server_was_sent_is_under_way(lab: NbdLab) -> None:
    lab.told()
    lab.signal(STOP)
    need(not lab.flows(3.0), 'the guest waits')
    before = device_of(lab).requests
    need(before is not None and before.in_flight > 0,
         'the block layer counts it')
    need(read(lab) == learn.SENT, 'a read was sent')
    after = device_of(lab).requests
    need(before is not None and after is not None
         and before.completed == after.completed, 'nothing has ended')
    need(not lab.told(), 'the kernel tells of nothing')
    lab.signal(GO_ON)
    need(lab.flows(SOON_S), 'the guest goes on')
    need(read(lab) == 'read', 'and so does the read')


def a_read_that_was_sent_hides_no_death(lab: NbdLab) -> None:
    """It stays under way when its connection dies: a later one tells."""
    lab.signal(STOP)
    need(not lab.flows(3.0), 'the guest waits')
    need(read(lab) == learn.SENT, 'a read was sent')
    die(lab)
    lab.rest(reads.FRESH_S)
    need(read(lab) == learn.UNSENT, 'a later one was not')
    now = device_of(lab).requests
    need(now is not None and now.in_flight > 0,
         f'the first one is still under way ({now})')
    heal(lab)
    need(lab.flows(LATE_S), 'it goes on with a new server')
    lab.until('a read comes back', lambda: read(lab) == 'read', LATE_S)


def what_was_under_way_waits_for_the_timer(lab: NbdLab) -> None:
    set_timer(lab, 30000)
    lab.rest(0.5)
    lab.signal(STOP)
    need(not lab.flows(1.0), 'a write is under way')
    die(lab)
    heal(lab)
    need(read(lab) == 'read', 'what is new goes through the new server')
    need(not lab.flows(2.0), 'what is old waits for its timer')
    need(lab.flows(LATE_S), 'and goes on then')


def another_cookie_is_refused(lab: NbdLab) -> None:
    die(lab)
    refused(lambda: lab.reconfigure(OTHER), OSError,
            'the kernel refuses another cookie')
    need(read(lab, 1.0) == learn.UNSENT, 'nobody serves it')
    heal(lab)
    need(lab.flows(LATE_S), 'who knows the cookie may')


def with_no_connection_dead_another_one_is_dropped(lab: NbdLab) -> None:
    end = lab.reconfigure(lab.mapping.order.volume)
    need(lab.flows(SOON_S), 'the guest goes on')
    lab.told()
    end()
    need(lab.flows(SOON_S) and read(lab) == 'read',
         'the second server served nothing')
    need(not lab.told(), 'nor does anybody miss it')


def a_device_follows_its_data_when_it_grows(lab: NbdLab) -> None:
    die(lab)
    size_bytes = lab.grow()
    heal(lab)
    lab.until('the device has grown',
              lambda: device_of(lab).size_bytes == size_bytes, SOON_S)
    need(lab.flows(LATE_S), 'the guest goes on')


def another_volume_s_name_opens_nothing(lab: NbdLab) -> None:
    name = lab.mapping.order.device or ''
    refused(lambda: lab.do(lambda: lab.hands.nbd.set_timer(
        device=name, volume=OTHER, timer_ms=500, timeout_s=TIMEOUT_S)),
        exception.HealerError, "another volume's timer is not set")

    def end() -> None:
        with lab.hands.locks.hold(OTHER, TIMEOUT_S), (
                lab.hands.locks.lend(OTHER, act.offer)) as held:
            lab.hands.nbd.disconnect(
                device=name, volume=OTHER, held=held, timer_ms=500,
                timeout_s=TIMEOUT_S)

    refused(lambda: lab.do(end), exception.HealerError,
            "another volume's device is not ended")
    need(lab.flows(SOON_S), 'the guest goes on')


TERMS: tuple[Callable[[NbdLab], None], ...] = (
    what_is_mapped_shows_whose_it_is,
    a_death_is_told_and_the_device_stays,
    who_ended_before_it_was_given_is_told_as_dead,
    without_a_server_the_guest_waits,
    what_waits_for_a_connection_is_not_under_way,
    what_a_stopped_server_was_sent_is_under_way,
    a_read_that_was_sent_hides_no_death,
    what_was_under_way_waits_for_the_timer,
    another_cookie_is_refused,
    with_no_connection_dead_another_one_is_dropped,
    a_device_follows_its_data_when_it_grows,
    another_volume_s_name_opens_nothing,
)


def unmapped(lab: NbdLab, unmap: Callable[[], None]) -> None:
    """How every term ends; the guest has stopped before."""
    lab.told()
    unmap()
    device = device_of(lab)
    need(not device.connected, 'an unmapped device is not connected')
    need(device.timer_ms == lab.mapping.timer_before_ms,
         'it has its timer back')
    need(not lives(lab), 'its server has ended')
    need(not lab.told(), 'an end that was asked for is not told as a death')
