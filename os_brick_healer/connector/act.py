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
"""The connector's use of privilege beyond what os-brick itself does.

os-brick's own executor runs mdadm and nvme for the connector. What it cannot
do goes through our entry points: they read the identity of a controller or
array again, as root, before they touch it.
"""

from os_brick_healer.connector import host as host_lib
from os_brick_healer.privileged import md, nvme


def delete_controller(controller: host_lib.Controller, device: str | None,
                      idle: bool, timeout_s: float) -> bool:
    """Delete a controller; whether it is gone.

    :param idle: nothing uses it; False: another leg must be live.
    """
    if controller.portal is None:
        return False
    return nvme.delete_controller(
        controller=controller.name, nqn=controller.nqn,
        address=controller.portal[0], port=int(controller.portal[1]),
        device=device, idle=idle, timeout_s=timeout_s)


def clear_failfast(array: str, array_uuid: str, device: str) -> bool:
    """Let a leg queue instead of failing fast."""
    return md.clear_failfast(array=array, array_uuid=array_uuid,
                             device=device)


def set_reconnect_delay(controller: host_lib.Controller,
                        delay_s: int) -> bool:
    """For a controller that was connected by somebody else."""
    return nvme.set_attribute(controller=controller.name,
                              nqn=controller.nqn, name='reconnect_delay',
                              value=delay_s)
