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
"""What may be done to NVMe-oF controllers, checked. See ``nvme``."""

from collections.abc import Callable, Mapping
import time

from os_brick_healer import exception
from os_brick_healer.privileged import check, command, identity
from os_brick_healer.privileged import tree as trees

_POLL_S = 0.05
#: States of a controller that will not carry I/O again.
_LEAVING = ('deleting', 'deleting (no IO)', 'dead')


def connect(tree: trees.Tree, run: command.Runner, *, nqn: str, address: str,
            port: int, transport: str, host_nqn: str, keep_alive_s: int,
            reconnect_delay_s: int, timeout_s: float) -> str:
    """Connect one portal of a subsystem; its controller's name.

    Being connected already is a success. The options are os-brick's own
    (-Q 128 -l -1: queue size, reconnect for ever) and the two that can only
    be set when connecting or matter from the first second on.
    """
    nqn, host_nqn = check.nqn(nqn), check.nqn(host_nqn)
    address, port = check.address(address), check.port(port)
    transport = check.transport(transport)
    check.number(keep_alive_s, 1, 600, 'a keep-alive time')
    check.number(reconnect_delay_s, 1, 600, 'a reconnect delay')
    deadline_s = time.monotonic() + check.timeout(timeout_s)

    def find() -> str | None:
        return _find(tree, nqn=nqn, address=address, port=port,
                     transport=transport, host_nqn=host_nqn)

    there = find()
    if there is not None:
        return there
    result = run(('nvme', 'connect', '-t', transport, '-a', address,
                  '-s', str(port), '-n', nqn, '-q', host_nqn, '-Q', '128',
                  '-l', '-1', f'--keep-alive-tmo={keep_alive_s}',
                  f'--reconnect-delay={reconnect_delay_s}'), timeout_s)
    # udev's nvmf-autoconnect may have been faster: then nvme complains of
    # a connection that exists, and what counts is that it does.
    while (there := find()) is None and result.code == 0:
        if time.monotonic() > deadline_s:
            break
        time.sleep(_POLL_S)
    if there is None:
        raise exception.CommandError(
            f'cannot connect {nqn} at {transport}://{address}:{port}: nvme '
            f'says {result.said}')
    return there


#: ``sockets.destroy``: address, port, timeout; how many were destroyed.
Destroy = Callable[[str, int, float], int]


def _find(tree: trees.Tree, *, nqn: str, address: str, port: int,
          transport: str, host_nqn: str) -> str | None:
    for name in tree.listdir('/sys/class/nvme'):
        base = f'/sys/class/nvme/{name}'
        if (tree.read(f'{base}/subsysnqn') == nqn
                and tree.read(f'{base}/transport') == transport
                and tree.read(f'{base}/hostnqn') in (None, host_nqn)
                and tree.read(f'{base}/state') not in _LEAVING
                and identity.portal_of(tree, name) == (address, port)):
            return name
    return None


def delete_controller(tree: trees.Tree, *, controller: str, nqn: str,
                      address: str, port: int, device: str | None,
                      idle: bool, timeout_s: float,
                      spare: Mapping[str, str] | None = None) -> bool:
    """Delete a controller; False: the kernel is still at it.

    :param device: the namespace that the caller gives up.
    :param idle: nothing may be using what is behind it. Otherwise every
        array that uses it must have another in-sync leg that is live.
    :param spare: other namespaces behind it that may go, too, unless it is
        to be idle, though no array uses them: by name, their uuids.
    """
    controller, nqn = check.controller(controller), check.nqn(nqn)
    address, port = check.address(address), check.port(port)
    leg = None if device is None else check.device(device)
    known = check.namespaces(spare)
    deadline_s = time.monotonic() + check.timeout(timeout_s)
    if not tree.exists(f'/sys/class/nvme/{controller}'):
        return True
    path = f'/sys/class/nvme/{controller}/delete_controller'
    with tree.attribute(path) as attribute:
        identity.controller(tree, controller, nqn, address, port)
        if idle is False:
            why = identity.endangered(tree, controller, nqn, leg, known)
        else:
            why = identity.in_use(tree, controller, leg)
        if why is not None:
            raise exception.NotOurs(
                f'cannot delete controller {controller}: {why}')
        if not _write(attribute, deadline_s):
            return False
    while tree.read(f'/sys/class/nvme/{controller}/subsysnqn') == nqn:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _write(attribute: trees.Attribute, deadline_s: float) -> bool:
    """Write 1; True when the write came back before the deadline."""
    try:
        return attribute.write('1', max(0.01, deadline_s - time.monotonic()))
    except OSError as error:
        raise exception.CommandError(
            f'cannot write {attribute.path}: {error.strerror}') from error


def cut(tree: trees.Tree, destroy: Destroy, *, controller: str, nqn: str,
        address: str, port: int, ours: tuple[str, ...],
        timeout_s: float) -> int:
    """Destroy the TCP connections to a controller's portal; how many.

    nvme-tcp sees its sockets close, tears down and reconnects: at once,
    where it would else wait for its keep-alive. (Its reset_controller must
    not be used for that: on a silent controller it waits a minute for an
    answer of the target, measured on Linux 6.1.) sock_diag knows addresses
    and not controllers, so every connection of this host to that portal is
    cut: hence each controller there must be the caller's.

    :param ours: names of the controllers that are known to be ours.
    """
    controller, nqn = check.controller(controller), check.nqn(nqn)
    address, port = check.address(address), check.port(port)
    known = {check.controller(name) for name in ours} | {controller}
    timeout_s = check.timeout(timeout_s)
    identity.controller(tree, controller, nqn, address, port)
    why = _not_to_cut(tree, controller, nqn, known, (address, port))
    if why is not None:
        raise exception.NotOurs(
            f'cannot cut the connection of {controller}: {why}')
    try:
        return destroy(address, port, timeout_s)
    except OSError as error:
        raise exception.CommandError(
            f'cannot cut the connection of {controller}: {error}',
            hint='the kernel needs tcp_diag and INET_DIAG_DESTROY') from error


def _not_to_cut(tree: trees.Tree, controller: str, nqn: str,
                ours: set[str], portal: tuple[str, int]) -> str | None:
    if tree.read(f'/sys/class/nvme/{controller}/transport') != 'tcp':
        return 'it is not TCP'
    for name in tree.listdir('/sys/class/nvme'):
        if name not in ours and identity.portal_of(tree, name) == portal:
            return f'{name} uses the same portal and is not known to be ours'
    return identity.endangered(tree, controller, nqn, None, None)


def set_attribute(tree: trees.Tree, *, controller: str, nqn: str, name: str,
                  value: int, timeout_s: float) -> bool:
    """Tune one attribute; whether it had another value before."""
    controller, nqn = check.controller(controller), check.nqn(nqn)
    name, value = check.attribute(name, value)
    path = f'/sys/class/nvme/{controller}/{name}'
    with tree.attribute(path) as attribute:
        identity.controller(tree, controller, nqn)
        # The kernel prints "off" for -1 and refuses to be given "off".
        before = tree.read(path)
        if before == str(value) or (before == 'off' and value == -1):
            return False
        try:
            done = attribute.write(str(value), check.timeout(timeout_s))
        except OSError as error:
            raise exception.CommandError(
                f'cannot set {name} of {controller} to {value}: '
                f'{error.strerror}') from error
    if not done:
        raise exception.CommandError(
            f'cannot set {name} of {controller}: the write does not return')
    return True


def rescan(tree: trees.Tree, *, controller: str, nqn: str,
           timeout_s: float) -> bool:
    """Look for new or resized namespaces; False: still at it."""
    controller, nqn = check.controller(controller), check.nqn(nqn)
    deadline_s = time.monotonic() + check.timeout(timeout_s)
    path = f'/sys/class/nvme/{controller}/rescan_controller'
    with tree.attribute(path) as attribute:
        identity.controller(tree, controller, nqn)
        return _write(attribute, deadline_s)
