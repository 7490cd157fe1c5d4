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
"""The one place of this package that imports os-brick.

What is used of it, by the names that os-brick 7.1 gives.
"""

from typing import Any

# "import a.b as b" and not "from a import b": the tree that mypy sees has a
# directory os_brick of its own, which holds nothing but the hook.
import os_brick.exception as exception
import os_brick.initiator.connectors.base as base
import os_brick.initiator.connectors.nvmeof as nvmeof
import os_brick.utils as utils
from oslo_concurrency import processutils

BrickException = exception.BrickException
ExceptionChainer = exception.ExceptionChainer
VolumeDeviceNotFound = exception.VolumeDeviceNotFound
NVMeOFConnector = nvmeof.NVMeOFConnector
BaseLinuxConnector = base.BaseLinuxConnector
ProcessExecutionError = processutils.ProcessExecutionError
get_host_nqn = utils.get_host_nqn
synchronized = base.synchronized


def raid_path(alias: str) -> str:
    """Where os-brick wants the array."""
    return f'{nvmeof.RAID_PATH}{alias}'


def refusal(sentence: str) -> Exception:
    """os-brick's exception with our words; nova logs it with the attach."""
    error: Exception = BrickException(message=sentence)
    return error


def host_uuid() -> str | None:
    """The host's id as nova told it to cinder: the root file system's."""
    uuid: str | None = NVMeOFConnector(root_helper=None)._get_host_uuid()
    return uuid


def rbd_connector() -> Any:
    """os-brick's connector for RBD; imported when it is built, since who
    attaches replicated volumes need not have what Ceph's needs."""
    import os_brick.initiator.connectors.rbd as rbd  # noqa: PLC0415
    return rbd.RBDConnector
