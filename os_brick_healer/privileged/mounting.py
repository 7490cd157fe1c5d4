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
"""Entry points: userspace file systems that are mounted anew."""

from os_brick_healer import privileged
from os_brick_healer.privileged import check, mounts, serving
from os_brick_healer.sysfs import reader


def _job(mounter: str, volume: str, source: dict[str, str], socket: str,
         place: str) -> serving.Job:
    return serving.job(mounter, volume, source, socket, device=place)


@privileged.entrypoint
def look(*, mounter: str, volume: str, source: dict[str, str], socket: str,
         place: str, timeout_s: float) -> str:
    """What is at a volume's place: bare, other, dead, lives."""
    return mounts.Places(tree=reader.Tree()).look(
        _job(mounter, volume, source, socket, place),
        check.timeout(timeout_s))


@privileged.entrypoint
def take(*, mounter: str, volume: str, source: dict[str, str], socket: str,
         place: str, timeout_s: float) -> bool:
    """Take a volume's dead mount away; False: that was done before."""
    return mounts.Places(tree=reader.Tree()).take(
        _job(mounter, volume, source, socket, place),
        check.timeout(timeout_s))


@privileged.entrypoint
def serves(*, mounter: str, volume: str, source: dict[str, str],
           socket: str, place: str, timeout_s: float) -> bool:
    """Whether a volume's new mount is there, and answers."""
    return mounts.Places(tree=reader.Tree()).serves(
        _job(mounter, volume, source, socket, place),
        check.timeout(timeout_s))
