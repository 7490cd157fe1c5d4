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
"""Entry points for controllers. They add nothing but the real host."""

from os_brick_healer import privileged
from os_brick_healer.privileged import command, fabrics, sockets, tree


@privileged.entrypoint
def connect(*, nqn: str, address: str, port: int, transport: str,
            host_nqn: str, keep_alive_s: int, reconnect_delay_s: int,
            timeout_s: float) -> str:
    """Connect one portal of a subsystem; the controller's name."""
    return fabrics.connect(tree.Tree(), command.run, nqn=nqn,
                           address=address, port=port, transport=transport,
                           host_nqn=host_nqn, keep_alive_s=keep_alive_s,
                           reconnect_delay_s=reconnect_delay_s,
                           timeout_s=timeout_s)


@privileged.entrypoint
def delete_controller(*, controller: str, nqn: str, address: str, port: int,
                      device: str | None, idle: bool, timeout_s: float,
                      spare: dict[str, str] | None = None) -> bool:
    """Delete a controller; False: the kernel is still at it."""
    return fabrics.delete_controller(tree.Tree(), controller=controller,
                                     nqn=nqn, address=address, port=port,
                                     device=device, idle=idle,
                                     timeout_s=timeout_s, spare=spare)


@privileged.entrypoint
def cut(*, controller: str, nqn: str, address: str, port: int,
        ours: tuple[str, ...], timeout_s: float) -> int:
    """Destroy the TCP connections to a controller's portal; how many."""
    return fabrics.cut(tree.Tree(), sockets.destroy, controller=controller,
                       nqn=nqn, address=address, port=port, ours=ours,
                       timeout_s=timeout_s)


@privileged.entrypoint
def warm_up() -> str:
    """Have the kernel load what cut() needs; why it cannot, or nothing."""
    try:
        sockets.warm_up()
    except OSError as error:
        return f'{error}'
    return ''


@privileged.entrypoint
def set_attribute(*, controller: str, nqn: str, name: str, value: int,
                  timeout_s: float = 5.0) -> bool:
    """Tune a controller; whether the value was another one before."""
    return fabrics.set_attribute(tree.Tree(), controller=controller, nqn=nqn,
                                 name=name, value=value, timeout_s=timeout_s)


@privileged.entrypoint
def rescan(*, controller: str, nqn: str, timeout_s: float) -> bool:
    """Rescan a controller's namespaces; False: still at it."""
    return fabrics.rescan(tree.Tree(), controller=controller, nqn=nqn,
                          timeout_s=timeout_s)
