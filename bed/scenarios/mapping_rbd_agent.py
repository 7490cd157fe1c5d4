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
"""The agent is killed with -9 between the steps by which it heals an image."""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import os
import pathlib
import signal

from bed.guest.mapped import connected, Served
from bed.guest.rbd import (
    blocklist,
    holder,
    LOCKED,
    name_of,
    PACKAGES,
    RbdHost,
)
from bed.guest.scenario import scenario, Stage
from bed.guest.writer import Writer
from bed.scenarios.agent_killed import has_line, last_line
from bed.scenarios.mapping_trouble import reconnected, wait_for

MEMORY_MIB = 1536


@dataclasses.dataclass(slots=True, kw_only=True)
class Patient:
    """An image that only one client may write, whose process dies again and
    again, and a mortal agent."""

    mapped: RbdHost
    volume: Served
    writer: Writer
    #: What had happened, and who served, when it was hurt last.
    seq: int = 0
    old: int = 0
    connections: int = 0
    asked: bool = False
    #: The addresses of all clients that have died.
    dead: set[str] = dataclasses.field(default_factory=set)

    @property
    def stage(self) -> Stage:
        return self.mapped.stage

    def hurt(self, number: signal.Signals) -> None:
        stage, image = self.stage, name_of(self.volume)
        address = holder(image)
        stage.check('a client that lives has the lock',
                    address is not None and address not in self.dead,
                    (address, self.dead))
        assert address is not None
        self.dead.add(address)
        self.seq, self.connections = last_line(), reconnected()
        self.asked = False
        self.writer.forget_stalls()
        self.old = self.volume.signal(number)

    # When to kill the agent ------------------

    def begun(self, beginning: str) -> bool:
        """An intent is written down."""
        return has_line(self.seq, 'intent', beginning)

    def told(self) -> bool:
        """What came of it is written down, too."""
        return has_line(self.seq, 'result', '')

    def started(self) -> bool:
        """There is a process that is another one."""
        return any(pid != self.old for pid in self.volume.servers())

    def asks(self, verb: str) -> bool:
        """A command of rbd about the image's lock is under way."""
        return any(words[1:3] == ['lock', verb] for words in commands(
            '/rbd', name_of(self.volume)))

    def shut_out(self) -> bool:
        """The command that shuts a client out has come and gone."""
        now = self.asks('rm')
        over = self.asked and not now
        self.asked = self.asked or now
        return over

    def connected(self) -> bool:
        """The kernel has been given the new connection."""
        return reconnected() > self.connections

    def ended(self) -> bool:
        return not pathlib.Path(f'/proc/{self.old}').exists()

    # What must be true whenever it was ------------------

    def expect_healed(self, what: str) -> None:
        stage, volume = self.stage, self.volume
        self.mapped.until_flowing(volume, self.writer)
        self.mapped.until_well(volume)
        stage.check('one process serves, and it is another one',
                    len(volume.servers()) == 1
                    and volume.server != self.old, volume.servers())
        stage.check('its device is the only one, with its cookie',
                    connected() == {volume.device: volume.id}, connected())
        stage.wait_until('no command is left behind', lambda: not commands(
            '/rbd', name_of(volume)))
        shut_out = blocklist()
        stage.check('only dead clients were shut out',
                    shut_out <= self.dead, (shut_out, self.dead))
        stage.note(f'killed when {what}: a write took up to '
                   f'{self.writer.worst_stall_s:.1f} s')


def commands(program: str, about: str) -> list[list[str]]:
    """The words of every live command of a program about something."""
    found = []
    for path in pathlib.Path('/proc').glob('[0-9]*/cmdline'):
        with contextlib.suppress(OSError):
            words = [os.fsdecode(word)
                     for word in path.read_bytes().split(b'\0')]
            if words[0].endswith(program) and about in words:
                found.append(words)
    return found


@scenario(name='rbd-agent-killed', item='ceph', timeout_s=1200,
          packages=PACKAGES, memory_mib=MEMORY_MIB)
def rbd_agent_killed(stage: Stage) -> None:
    """The agent is killed with -9 between every two steps of a heal."""
    mapped = RbdHost.with_ceph(stage)
    volume = mapped.attach_image(features=LOCKED)
    mapped.start_agent()
    patient = Patient(mapped=mapped, volume=volume,
                      writer=mapped.write_to(volume))
    moments: tuple[tuple[signal.Signals, str, Callable[[], bool]], ...] = (
        (signal.SIGKILL, 'the heal is about to begin',
         functools.partial(patient.begun, 'serve ')),
        (signal.SIGKILL, 'a process was started', patient.started),
        (signal.SIGKILL, 'it is asked who holds the image',
         functools.partial(patient.asks, 'ls')),
        (signal.SIGKILL, 'the dead client is about to be shut out',
         functools.partial(patient.asks, 'rm')),
        (signal.SIGKILL, 'it was shut out', patient.shut_out),
        (signal.SIGKILL, 'the process has its connection',
         patient.connected),
        (signal.SIGKILL, 'the heal is over', patient.told),
        (signal.SIGSTOP, 'the process that hangs is about to be killed',
         functools.partial(patient.begun, 'kill ')),
        (signal.SIGSTOP, 'the process that hung has ended', patient.ended))
    for number, what, moment in moments:
        patient.hurt(number)
        wait_for(stage, what, moment)
        mapped.agent.kill()
        stage.note(f'kill -9 of the agent: {what}')
        mapped.agent.start()
        patient.expect_healed(what)
    mapped.prove_device(volume, patient.writer)
    mapped.detach(volume)
    stage.check('no device is left', not connected(), connected())
    stage.wait_until('no process is left', lambda: not volume.servers())
