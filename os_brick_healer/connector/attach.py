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
"""Connecting a replicated volume."""

from collections.abc import Callable
import logging
from typing import Any

from os_brick_healer.connector import brick, flow, guard, trouble
from os_brick_healer.connector import host as host_lib
from os_brick_healer.connector import legs as legs_lib
from os_brick_healer.sysfs import parse

LOG = logging.getLogger(__name__)

#: A portal has so long to accept a connection: two SYNs of TCP (the second
#: is sent after 1 s) and some slack.
PROBE_S = 2.5
#: Attempts to assemble, and the wait between them: udev may be running
#: ``mdadm -I`` on a leg that has just appeared.
ASSEMBLE_TRIES = 5
ASSEMBLE_WAIT_S = 1.0
#: udev makes /dev/md/ALIAS; checked this often, for so many times.
LINK_WAIT_S = 0.1
LINK_TRIES = 100


class Attach(flow.Flow):
    """One connect_volume."""

    def run(self, connect: Callable[[dict[str, Any]], dict[str, str]],
            ) -> dict[str, str]:
        """Resolve, write down, connect, write down."""
        self.resolved = self.resolve()
        self.legs = self.resolved.legs
        self.known = self.context.records.known(self.volume)
        if not self.legs:
            raise self.refuse(
                f'cannot connect volume {self.volume}: because '
                f'{self._why_no_leg()}', 'a leg must be available first')
        self.silent = self._silent()
        self._before = {a.name for a in self._arrays()}
        records, key = self.context.records, self.resolved.key
        records.attach_begin(
            key, self.resolved.alias,
            legs_lib.sanitized(self.props, self.legs)
            | {'replica_count': self.resolved.replica_count})
        try:
            result = connect(self.connection())
        except BaseException:
            records.attach_undo(key)
            raise
        records.attach_done(key)
        self.context.background(self._tune)
        return result

    def _why_no_leg(self) -> str:
        if not self.resolved.fresh:
            return f'no leg of it is known; {self.resolved.sentence}'
        if not self.resolved.bad:
            return 'the provisioner names no leg of it'
        return ('the provisioner calls every one of its legs missing or '
                'terminating')

    def connection(self) -> dict[str, Any]:
        """The properties as os-brick gets them: the legs as they are now."""
        return dict(self.props) | {
            'replica_count': self.resolved.replica_count,
            'volume_replicas': [legs_lib.to_replica(x) for x in self.legs]}

    def _arrays(self) -> tuple[host_lib.Array, ...]:
        return self.host.arrays_on(tuple(self.host.devices_of(self.legs)))

    def clear_away(self) -> None:
        """After a failure: stop what this attach, or udev, has started.

        What ran before stays: the volume may be attached already.
        """
        for array in self._arrays():
            if array.name not in self._before and not array.holders:
                self.connector.stop_raid(f'/dev/{array.name}')

    # Connecting the legs -----------------------------------------------------

    def _silent(self) -> frozenset[legs_lib.Portal]:
        """Portals that cannot be connected now.

        Also those with a controller that is not live: os-brick would wait
        eleven seconds, three times, for each to come back.
        """
        connected = {c.portal for c in self.host.controllers_of(self.legs)
                     if c.live}
        asked = frozenset(p for leg in self.legs for p in leg.portals
                          if p not in connected and _is_tcp(p))
        return asked - self.context.answering(asked, PROBE_S)

    def check_leg(self, target: Any) -> None:
        """Do not let os-brick try, and wait for, a leg that is away."""
        portals = [(p.address, p.port, p.transport) for p in target.portals]
        if portals and all(self._is_silent(p) for p in portals):
            raise self.refuse(
                f'cannot connect leg {target.nqn}: because none of its '
                'portals answers', 'the volume goes on without it')

    def _is_silent(self, portal: legs_lib.Portal) -> bool:
        return any(p[:2] == portal[:2] and _is_tcp(p) for p in self.silent)

    def nvme_command(self, command: list[str]) -> list[str]:
        """What os-brick is about to run, with what heals better.

        Keep-alive and reconnect delay can only be set when connecting.
        """
        if not command or command[0] != 'connect':
            return command
        words = dict(zip(command[1::2], command[2::2], strict=False))
        portal = (words.get('-a', ''), words.get('-s', ''),
                  words.get('-t', ''))
        if portal[2] == 'tcp' and self._is_silent(portal):
            raise brick.ProcessExecutionError(
                cmd='nvme connect', exit_code=110, stdout='',
                stderr=f'portal {portal[0]}:{portal[1]} does not answer')
        return [*command,
                f'--keep-alive-tmo={self.settings.keep_alive_s}',
                f'--reconnect-delay={self.settings.reconnect_delay_s}']

    # The array ---------------------------------------------------------------

    def mdadm_command(self, command: list[str]) -> list[str]:
        """Create without --failfast: it turns an outage of all legs into
        I/O errors of the guest (MD sets MD_BROKEN on the last one)."""
        return [word for word in command if word != '--failfast']

    def assemble(self, paths: list[str]) -> str:
        """Make the array from the connected legs, or refuse and say why."""
        present = self._present(paths)
        plan = guard.plan(
            guard.Wanted(
                alias=self.resolved.alias,
                replica_count=self.resolved.replica_count,
                absent=frozenset(x.key for x in self.legs)
                - {p.leg.key for p in present},
                stale_allowed=self.settings.stale_allowed),
            present, self.known)
        md_path = brick.raid_path(self.resolved.alias)
        match plan:
            case guard.Refuse(sentence=sentence, hint=hint):
                raise self.refuse(sentence, hint)
            case guard.Create(legs=chosen):
                LOG.info('creating array %s from %d blank legs', md_path,
                         len(chosen))
                self.connector.create_raid(
                    [p.device for p in chosen], '1', self.resolved.alias,
                    self.resolved.alias, False)
                self._remember(chosen, None)
            case guard.Assemble(legs=chosen, notes=notes):
                for note in notes:
                    LOG.warning('array %s: %s', md_path, note)
                self._assemble([p.device for p in chosen], plan.array_uuid,
                               md_path)
                self._remember(chosen, plan.events)
        return md_path

    def _present(self, paths: list[str]) -> tuple[guard.Present, ...]:
        legs = self.host.devices_of(self.legs)
        return tuple(
            guard.Present(device=path, leg=legs[name],
                          content=self._examine(path))
            for path in paths if (name := _name(path)) in legs)

    def _examine(self, path: str) -> guard.Content:
        try:
            out, _ = self.execute('mdadm', '--examine', '--export', path)
        except brick.ProcessExecutionError as e:
            said = f'{e.stdout or ""} {e.stderr or ""}'.strip()
            if 'No md superblock' not in said:
                return guard.Unreadable(why=said or str(e))
            out = ''
        words = parse.exported(out)
        uuid = host_lib.bare_uuid(words.get('MD_UUID'))
        if uuid is not None:
            events = words.get('MD_EVENTS', '')
            return guard.Super(
                array_uuid=uuid,
                events=int(events) if events.isdigit() else None)
        other = self.connector._get_fs_type(path)
        if other:
            return guard.Foreign(what=other)
        return guard.Blank()

    def _assemble(self, devices: list[str], uuid: str, md_path: str) -> None:
        """os-brick's stop_and_assemble_raid, by identity and with an end.

        That one looks for ``nvme0n1`` as a substring of /proc/mdstat (and
        finds nvme0n10's array, which it stops), waits a second for each leg
        each time, and returns as if all was well when nothing worked.
        """
        error: Exception | None = None
        for attempt in range(ASSEMBLE_TRIES):
            if attempt:
                self.context.sleep(ASSEMBLE_WAIT_S)
            if self._is_up(devices, uuid, md_path):
                return
            try:
                with self.watching(lambda: self.array(uuid)):
                    self.connector.assemble_raid(devices, md_path, False)
                error = None
            except brick.ProcessExecutionError as e:
                error = e
                continue
            if self._link_appears(md_path):
                return
        raise self.refuse(
            f'cannot assemble array {md_path} from {", ".join(devices)}: '
            f'because {error or "the kernel does not show it"}',
            'mdadm --examine of each leg and the kernel log tell more')

    def _is_up(self, devices: list[str], uuid: str, md_path: str) -> bool:
        """Whether the array runs under its name; what is in the way goes."""
        names = tuple(_name(d) for d in devices)
        for array in self.host.arrays_on(names):
            if array.running and array.uuid not in (None, uuid):
                raise self.refuse(
                    f'cannot assemble array {md_path}: because '
                    f'{array.name} (array {array.uuid}) holds a leg of it',
                    'it is not of this volume: it is left alone')
            if (array.running
                    and self.host.array_behind(md_path) == array.name):
                return True
            # Started by udev's mdadm -I, in part or under another name.
            self.connector.stop_raid(f'/dev/{array.name}')
        return False

    def _link_appears(self, md_path: str) -> bool:
        for _ in range(LINK_TRIES):
            if self.host.array_behind(md_path) is not None:
                return True
            self.context.sleep(LINK_WAIT_S)
        return False

    def _remember(self, chosen: tuple[guard.Present, ...],
                  events: int | None) -> None:
        array = self.array(None)
        self.context.records.remember(self.volume, guard.Known(
            array_uuid=array.uuid if array is not None else None,
            events=events, in_sync=None), tuple(p.leg for p in chosen))

    # Afterwards, in the background -------------------------------------------

    def _tune(self) -> None:
        """Settings of what somebody else connected or created before.

        The agent does the same at its next look; this is only sooner. But
        it may be unable to look, so nothing here keeps a flag from being
        cleared.
        """
        self._attempt(self._clear_flags)
        self._attempt(self._set_delays)

    def _clear_flags(self) -> None:
        array = self.array(None)
        if array is not None and array.uuid is not None:
            for device in array.members:
                self._attempt(self.context.clear_failfast, array.name,
                              array.uuid, device)

    def _set_delays(self) -> None:
        delay_s = self.settings.reconnect_delay_s
        for controller in self.host.controllers_of(self.legs):
            if self.host.setting(controller.name,
                                 'reconnect_delay') != str(delay_s):
                self.context.set_reconnect_delay(controller, delay_s)

    def _attempt(self, what: Callable[..., object], *about: str) -> None:
        try:
            what(*about)
        except Exception as e:  # noqa: BLE001 - the edge of a thread
            trouble.tell('tuning', f'cannot tune volume {self.volume}: '
                                   f'because {e}; the agent does it later')


def _is_tcp(portal: legs_lib.Portal) -> bool:
    return portal[2] not in ('RoCEv2', 'rdma')


def _name(path: str) -> str:
    return path.rpartition('/')[2]
