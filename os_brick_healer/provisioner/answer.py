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
"""A plugin's answers, held to their types. Pure.

A plugin is foreign code: what it gives back in place of an answer must be
said where it was asked, and not raise later in the middle of a look.
"""

from collections.abc import Mapping
from typing import Any

from os_brick_healer import exception
from os_brick_healer.provisioner import base


def sentence(told: object) -> str:
    """What ``probe()`` gave back.

    :raises ProvisionerNonsense: it is no text.
    """
    if not isinstance(told, str):
        raise _bug('probe', told, 'a sentence')
    return told


def volumes(told: object) -> Mapping[base.VolumeId, base.Volume]:
    """What ``volumes()`` gave back.

    :raises ProvisionerNonsense: it is no mapping of ids to volumes.
    """
    if not isinstance(told, Mapping):
        raise _bug('volumes', told, 'a mapping of ids to Volume')
    for key, volume in told.items():
        if not isinstance(key, str):
            raise _bug('volumes', key, 'an id as each key')
        if not isinstance(volume, base.Volume):
            raise _bug('volumes', volume, f'a Volume for {key!r}')
        odd = _odd_replica(volume.replicas)
        if odd is not None:
            raise _bug('volumes', odd[0],
                       f'a tuple of Replica for {key!r}')
    return told


def _odd_replica(replicas: Any) -> tuple[object] | None:
    if not isinstance(replicas, tuple):
        return (replicas,)
    return next(((one,) for one in replicas
                 if not isinstance(one, base.Replica)), None)


def _bug(method: str, told: object,
         wanted: str) -> exception.ProvisionerNonsense:
    return exception.ProvisionerNonsense(
        'cannot take the answer of the provisioner plugin: because of a bug '
        f'in the plugin: {method}() gave {type(told).__name__} and not '
        f'{wanted}', hint='tell the vendor')
