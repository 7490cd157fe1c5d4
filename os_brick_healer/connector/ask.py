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
"""Asking the provisioner from inside nova, with a short deadline.

A provisioner may retry and try several addresses for a minute; nova waits a
few seconds at most. The question runs in a daemon thread that is left alone
when it is late.
"""

from collections.abc import Callable, Mapping
import queue
import threading

from os_brick_healer import exception
from os_brick_healer.provisioner import answer as answer_lib
from os_brick_healer.provisioner import base

Volumes = Mapping[base.VolumeId, base.Volume]

#: Late questions that may be under way; with more the answer is a no.
LATE_MAX = 4


class Asker:
    """Asks for the volumes of this host.

    :param volumes: builds the plugin if need be, and asks; may block.
    """

    def __init__(self, volumes: Callable[[], Volumes]) -> None:
        self._volumes = volumes
        self._under_way = threading.BoundedSemaphore(LATE_MAX)

    def ask(self, timeout_s: float) -> Volumes:
        """:raises HealerError: why nothing is known."""
        if not self._under_way.acquire(blocking=False):
            raise exception.ProvisionerUnreachable(
                'cannot ask the provisioner: because it has not answered '
                f'{LATE_MAX} earlier questions yet')
        answer: queue.SimpleQueue[Volumes | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(answer,), daemon=True,
                         name='os-brick-healer-ask').start()
        try:
            result = answer.get(timeout=timeout_s)
        except queue.Empty:
            raise exception.ProvisionerUnreachable(
                'cannot ask the provisioner: because it did not answer '
                f'within {timeout_s:g} s') from None
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self, answer: 'queue.SimpleQueue[Volumes | Exception]') -> None:
        try:
            answer.put(answer_lib.volumes(self._volumes()))
        except exception.HealerError as e:
            answer.put(e)
        except Exception as e:  # noqa: BLE001 - a plugin is foreign code
            answer.put(exception.ProvisionerError(
                'cannot ask the provisioner: because its plugin failed: '
                f'{type(e).__name__}: {e}'))
        finally:
            self._under_way.release()
