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
"""Entry points for arrays. They add nothing but the real host."""

from os_brick_healer import privileged
from os_brick_healer.privileged import arrays, command, joining, tree


@privileged.entrypoint
def clear_failfast(*, array: str, array_uuid: str, device: str,
                   timeout_s: float = 5.0) -> bool:
    """Clear MD's failfast flag of a leg; whether it was set."""
    return arrays.clear_failfast(tree.Tree(), array=array,
                                 array_uuid=array_uuid, device=device,
                                 timeout_s=timeout_s)


@privileged.entrypoint
def remove(*, array: str, array_uuid: str, device: str,
           timeout_s: float) -> bool:
    """Take a faulty member out of its array; False: it was not in."""
    return arrays.remove(tree.Tree(), array=array, array_uuid=array_uuid,
                         device=device, timeout_s=timeout_s)


@privileged.entrypoint
def re_add(*, array: str, array_uuid: str, device: str, nqn: str,
           namespace_uuid: str, timeout_s: float) -> bool:
    """Put a former leg back by its bitmap; False: it was in already."""
    return joining.re_add(tree.Tree(), command.run, arrays.claim,
                         array=array, array_uuid=array_uuid, device=device,
                         nqn=nqn, namespace_uuid=namespace_uuid,
                         timeout_s=timeout_s)


@privileged.entrypoint
def add_spare(*, array: str, array_uuid: str, device: str, nqn: str,
              namespace_uuid: str, min_size_bytes: int, former: bool,
              timeout_s: float) -> bool:
    """Add a leg for a full copy; False: it was in already."""
    return joining.add_spare(tree.Tree(), command.run, arrays.claim,
                            array=array, array_uuid=array_uuid,
                            device=device, nqn=nqn,
                            namespace_uuid=namespace_uuid,
                            min_size_bytes=min_size_bytes, former=former,
                            timeout_s=timeout_s)


@privileged.entrypoint
def examine(*, device: str, nqn: str, namespace_uuid: str,
            timeout_s: float) -> dict[str, str]:
    """``mdadm --examine --export``; empty without a superblock."""
    return arrays.examine(tree.Tree(), command.run, device=device, nqn=nqn,
                          namespace_uuid=namespace_uuid, timeout_s=timeout_s)


@privileged.entrypoint
def signatures(*, device: str, nqn: str, namespace_uuid: str,
               timeout_s: float) -> tuple[str, ...]:
    """Types of signatures on a device other than MD's own."""
    return arrays.signatures(tree.Tree(), command.run, device=device,
                             nqn=nqn, namespace_uuid=namespace_uuid,
                             timeout_s=timeout_s)
