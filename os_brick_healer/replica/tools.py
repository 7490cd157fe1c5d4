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
"""What the hands work with: settings, and the shape of each tool."""

from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
import contextlib
import dataclasses
from typing import Protocol

from oslo_config import cfg

from os_brick_healer.conf import opts, policy
from os_brick_healer.replica import model


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the hands need of the configuration; seconds."""

    command_timeout_s: float
    lock_timeout_s: float
    keep_alive_s: int
    reconnect_delay_s: int

    @classmethod
    def read(cls, conf: cfg.ConfigOpts) -> 'Settings':
        group = conf[opts.GROUP]
        return cls(
            command_timeout_s=group.command_timeout,
            lock_timeout_s=group.lock_timeout,
            keep_alive_s=policy.profile(conf).keep_alive_s,
            reconnect_delay_s=group.reconnect_delay)


class Md(Protocol):
    """What :mod:`os_brick_healer.privileged.md` offers."""

    def clear_failfast(self, *, array: str, array_uuid: str, device: str,
                       timeout_s: float = ...) -> bool: ...

    def remove(self, *, array: str, array_uuid: str, device: str,
               timeout_s: float) -> bool: ...

    def re_add(self, *, array: str, array_uuid: str, device: str, nqn: str,
               namespace_uuid: str, timeout_s: float) -> bool: ...

    def add_spare(self, *, array: str, array_uuid: str, device: str,
                  nqn: str, namespace_uuid: str, min_size_bytes: int,
                  former: bool, timeout_s: float) -> bool: ...

    def examine(self, *, device: str, nqn: str, namespace_uuid: str,
                timeout_s: float) -> dict[str, str]: ...

    def signatures(self, *, device: str, nqn: str, namespace_uuid: str,
                   timeout_s: float) -> tuple[str, ...]: ...


class Nvme(Protocol):
    """What :mod:`os_brick_healer.privileged.nvme` offers to the hands."""

    def connect(self, *, nqn: str, address: str, port: int, transport: str,
                host_nqn: str, keep_alive_s: int, reconnect_delay_s: int,
                timeout_s: float) -> str: ...

    def delete_controller(self, *, controller: str, nqn: str, address: str,
                          port: int, device: str | None, idle: bool,
                          timeout_s: float,
                          spare: dict[str, str] | None = None) -> bool: ...

    def cut(self, *, controller: str, nqn: str, address: str, port: int,
            ours: tuple[str, ...], timeout_s: float) -> int: ...


class Locks(Protocol):
    """os-brick's two locks; raises LocksBusy."""

    def hold(self, timeout_s: float
             ) -> contextlib.AbstractContextManager[None]: ...


class ProbeNow(Protocol):
    """Fresh answers of portals; see :func:`probe.probe_now`."""

    def __call__(self, portals: Sequence[model.Portal], *,
                 deadline_s: float, one_is_enough: bool
                 ) -> Mapping[model.Portal, bool]: ...


Together = Callable[[Callable[[model.Path], bool], Sequence[model.Path]],
                    tuple[bool, ...]]


def together(call: Callable[[model.Path], bool],
             paths: Sequence[model.Path]) -> tuple[bool, ...]:
    """Call it for all paths at the same time, on threads."""
    with futures.ThreadPoolExecutor(max(1, len(paths))) as pool:
        return tuple(pool.map(call, paths))
