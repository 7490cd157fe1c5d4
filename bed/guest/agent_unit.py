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
"""The agent as systemd runs it: user nova, the shipped unit, the journal.

nova-compute must run as user nova, too (World.build(nova_user='nova')): the
two share os-brick's lock files and the agent's journal.
"""

import os
import pathlib
import shutil
import signal
import subprocess
from typing import Self, TYPE_CHECKING

from bed.guest import agent as agent_module
from bed.guest.agent import Agent
from bed.guest.host import command

if TYPE_CHECKING:
    from bed.guest.world import World

UNIT = 'os-brick-healer.service'
TRANSIENT_UNIT = 'os-brick-healer-agent.service'
NOVA_UNIT = 'nova-compute.service'


class UnitAgent(Agent):
    """The agent of a host with systemd; configure() first."""

    @classmethod
    def configure(cls, world: 'World', **settings: str) -> Self:
        """As for Agent, with launch = systemd unless told otherwise."""
        agent = super().configure(world, **{'launch': 'systemd', **settings})
        assert isinstance(agent, cls)
        shutil.chown(agent_module.VENDOR_CONFIG, group='nova')
        authority = world.kumoscale.pki.ca
        authority.parent.chmod(0o755)
        authority.chmod(0o644)
        return agent

    def start(self) -> None:
        command('systemctl', 'start', UNIT, deadline_s=120)
        self.wait_until_up()

    @property
    def pid(self) -> int:
        """The process that answers."""
        return int(self.ask('ping')['pid'])

    def kill(self) -> None:
        """Ends it for good, whichever unit it is in."""
        for unit in (UNIT, TRANSIENT_UNIT):
            subprocess.run(['systemctl', 'kill', '--signal=KILL', unit],
                           check=False, timeout=30, capture_output=True)
            subprocess.run(['systemctl', 'stop', '--no-block', unit],
                           check=False, timeout=30, capture_output=True)

    def stop(self) -> int:
        """SIGTERM by systemd; the exit status."""
        command('systemctl', 'stop', UNIT)
        return int(command('systemctl', 'show', '--value', '--property',
                           'ExecMainStatus', UNIT))

    def kill_9(self, pid: int) -> None:
        """What the kernel does to it when memory is short."""
        os.kill(pid, signal.SIGKILL)

    def wait_until_back(self, old_pid: int) -> int:
        """Waits for systemd to have restarted it; the new process."""
        self.world.stage.wait_until(
            'systemd has restarted the agent', lambda: self.up()
            and self.pid != old_pid, agent_module.UP_S, every_s=0.3)
        return self.pid

    def leave_traces(self) -> None:
        for unit, name in ((UNIT, 'agent.log'),
                           (TRANSIENT_UNIT, 'agent-transient.log'),
                           (NOVA_UNIT, 'nova-unit.log')):
            done = subprocess.run(
                ['journalctl', '--no-pager', '-o', 'short-monotonic', '-u',
                 unit], check=False, timeout=60, capture_output=True,
                text=True)
            self.world.stage.artifact(name, done.stdout)
        output = pathlib.Path('/var/lib/os-brick-healer/agent.log')
        if output.exists():
            self.world.stage.artifact('agent-output.log', output.read_text())
        self.world.stage.artifact('history.txt', self.history())
