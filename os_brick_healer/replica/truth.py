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
"""The provisioner's last words, kept fresh off the loop's thread."""

from collections.abc import Callable, Mapping
import logging as std_logging
from typing import Any

from oslo_log import log as logging

from os_brick_healer import exception
from os_brick_healer.provisioner import base

LOG: std_logging.LoggerAdapter[Any] = logging.getLogger(__name__)

#: The host is registered (probed) again after so long, seconds.
PROBE_S = 60.0


class Truth:
    """What the provisioner said, when, and why it says no more.

    :param open_: makes the provisioner; called again until it succeeds, so
        that a wrong setting is said and mended without a restart.
    """

    def __init__(self, open_: Callable[[], base.Provisioner],
                 clock: Callable[[], float]) -> None:
        self._open = open_
        self._clock = clock
        self._provisioner: base.Provisioner | None = None
        self._probed_s: float | None = None
        self.sentence = 'not asked yet'
        self.error: str | None = 'not asked yet'
        self.volumes: Mapping[base.VolumeId, base.Volume] = {}
        self.heard_s: float | None = None

    @property
    def provisioner(self) -> base.Provisioner | None:
        """The plugin, None until it could be loaded."""
        return self._provisioner

    def age_s(self) -> float | None:
        """How old the words are, seconds; None: never heard."""
        if self.heard_s is None:
            return None
        return max(0.0, self._clock() - self.heard_s)

    def ask(self) -> Mapping[base.VolumeId, base.Volume]:
        """Ask for all volumes of this host. On a worker's thread."""
        if self._provisioner is None:
            self._provisioner = self._open()
        now_s = self._clock()
        if self._probed_s is None or now_s - self._probed_s >= PROBE_S:
            self.sentence = self._provisioner.probe()
            self._probed_s = now_s
        return self._provisioner.volumes()

    def take(self, begun_s: float, result: Any) -> bool:
        """Keep an answer. On the loop's thread.

        :param begun_s: when it was asked for: its words are that old.
        :returns: whether anything is different now.
        """
        if isinstance(result, BaseException):
            return self._take_error(result)
        changed = self.error is not None or result != self.volumes
        if self.error is not None:
            LOG.info('the provisioner answers: %s', self.sentence)
        self.error, self.volumes, self.heard_s = None, result, begun_s
        return changed

    def _take_error(self, e: BaseException) -> bool:
        text = str(e)
        if not isinstance(e, exception.HealerError):
            text = f'a bug in the plugin: {e!r}'
            LOG.error('the provisioner plugin failed in a way nobody '
                      'expected', exc_info=e)
        changed = self.error != text
        if changed:
            LOG.warning('the provisioner is of no help: %s; nothing is '
                        'requested, added or removed until it is', text)
        self.error = text
        self._probed_s = None
        return changed

    def close(self) -> None:
        """Give back the plugin's connections; it is opened anew."""
        if self._provisioner is not None:
            self._provisioner.close()
        self._provisioner = None
        self._probed_s = None
