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
"""The safety laws, checked again on a fresh look just before an act. Pure.

1. Touch only a device whose kernel cookie is the volume's, never by name.
2. Kill only a process that is proven to be this volume's server, and that
   does not serve.
3. Never two servers of one volume.
4. Never act while a connector works on the volume, nor when paused.
5. What is served must be what was mapped: never smaller, never another.
6. Never disconnect a device to heal it: requests wait rather than fail.
7. Shut out only the client of a server that has ended, by the name that this
   server gave of itself (asked where it is done, in ``privileged/fencing``).
8. Never serve again what another host has attached, and this one has not.
9. Take away only a mount that is dead: of the mounter's type, alone where it
   was mapped, its server ended, its answer ENOTCONN; and mount only where we
   have taken one away (asked where it is done, in ``privileged/mounts``).
"""

from typing import assert_never

from os_brick_healer.mapping import model


def permits(action: model.Action, seen: model.Seen) -> str | None:
    """Which law forbids this action now, in one sentence; None: none."""
    return (_general(action, seen) or _device(action, seen)
            or _special(action, seen))


def _general(action: model.Action, seen: model.Seen) -> str | None:
    if seen.paused is not None:
        return f'healing is paused ({seen.paused}) (law 4)'
    attachment = seen.attachment
    if attachment is None:
        return 'the volume is no longer attached here (law 4)'
    if attachment.state is not model.AttachState.ATTACHED and (
            attachment.owner_alive or attachment.state
            is model.AttachState.DISCONNECTING):
        return f'a connector is {attachment.state.value} it (law 4)'
    mapping = attachment.mapping
    if mapping is None or mapping.order.device != action.device:
        return f'{action.device} is not its device any more (law 1)'
    return None


def _device(action: model.Action, seen: model.Seen) -> str | None:
    device = seen.device
    if device is None or not device.connected:
        return f'{action.device} is no longer connected (law 1)'
    if device.cookie != seen.key:
        return (f'{device.name} has cookie {device.cookie}, not {seen.key} '
                f'(law 1)')
    return None


def _special(action: model.Action, seen: model.Seen) -> str | None:
    server = seen.server
    match action:
        case model.Serve():
            if server is not None and not _left(action, server):
                return f'{server} serves it already (law 3)'
            if seen.elsewhere is not None:
                return f'{seen.elsewhere} (law 8)'
        case model.Kill():
            if server is None or not same(server, action.server):
                return f'{action.server} has ended (law 2)'
            return _serves(action, server, seen)
        case model.Prove():
            if server is None or not same(server, action.server):
                return f'{action.server} does not serve any more'
        case model.SetTimer():
            return None
        case _:
            assert_never(action)
    return None


def _left(action: model.Serve, server: model.Running) -> bool:
    """Whether a process has ended, but for what it had open."""
    return server.leaving and action.left is not None and same(
        server, action.left)


def same(one: model.Process | model.Running,
         other: model.Process | model.Running) -> bool:
    """Whether two are one process, not only one number."""
    return (one.pid, one.start) == (other.pid, other.start)


def _serves(action: model.Kill, server: model.Running,
            seen: model.Seen) -> str | None:
    """What shows that the process serves after all."""
    if seen.waiting and seen.stuck_s <= 0.0:
        return f'requests of {action.device} end again (law 2)'
    if not action.hung:
        return None if seen.link_dead_s is not None or seen.cut else (
            f'nothing shows that {server} is cut off (law 2)')
    if not seen.waiting:
        return f'no request waits for {server} (law 2)'
    if server.stopped:
        return None
    if seen.answer is None or seen.answer.alive is not False:
        return f'{server} has not been found silent (law 2)'
    return None
