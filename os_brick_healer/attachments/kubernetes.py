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
"""Kubernetes: VolumeAttachments of this node, and their PersistentVolumes.

Two kinds of objects are read and none is written, so no client library is
needed: a token, the cluster's certificates and GET. The account needs
``get`` and ``list`` on ``volumeattachments`` and ``persistentvolumes``.
Secrets are never asked for.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib import parse as urls

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.attachments import base, https, kubernetes_parse, parse
from os_brick_healer.conf import opts

ATTACHMENTS = '/apis/storage.k8s.io/v1/volumeattachments'
VOLUMES = '/api/v1/persistentvolumes'
PAGE = 500
PAGES_MAX = 200


class KubernetesSource(base.AttachmentSource):
    """An API server, with a service account's token."""

    guarantees = base.Guarantees(authoritative=False, knows_hosts=True,
                                 knows_images=True)
    pages_max = PAGES_MAX

    def __init__(self, conf: cfg.ConfigOpts, host: str) -> None:
        super().__init__(conf, host)
        group = conf[opts.GROUP]
        self.node: str = group.kubernetes_node or host
        self._drivers = frozenset(group.kubernetes_drivers)
        self._token_file: str = group.kubernetes_token_file
        self._client = https.Client(
            group.kubernetes_url, ca_file=group.kubernetes_ca_file,
            token=self._token, timeout_s=group.attachment_timeout,
            option=f'[{opts.GROUP}] kubernetes_url')

    def __repr__(self) -> str:
        return f'KubernetesSource({self._client!r}, node {self.node})'

    def _token(self) -> str:
        return https.read_secret(self._token_file,
                                 f'[{opts.GROUP}] kubernetes_token_file')

    def probe(self) -> str:
        """See :class:`base.AttachmentSource`."""
        self._client.get(ATTACHMENTS, 'list volumeattachments',
                         {'limit': '1'})
        self._client.get(VOLUMES, 'list persistentvolumes', {'limit': '1'})
        return (f'Kubernetes at {self._client.host}:{self._client.port}, '
                f'node {self.node}')

    def listing(self, about: frozenset[str]) -> base.Listing:
        """See :class:`base.AttachmentSource`."""
        every = kubernetes_parse.of_driver(
            self._pages(ATTACHMENTS, 'list volumeattachments'),
            self._drivers)
        here: dict[str, base.Attached] = {}
        ours = [one for one in every
                if kubernetes_parse.node(one) == self.node]
        self.must_be_possible(len(ours))
        for one in ours:
            volume = self._volume(kubernetes_parse.volume_name(one))
            found = None if volume is None else kubernetes_parse.attached(
                one, volume)
            if found is not None:
                here[found.volume] = found
        lacking = about - set(here)
        return base.Listing(here=here, elsewhere={} if not lacking else (
            self._elsewhere(every, lacking)))

    def _elsewhere(self, every: list[parse.Document],
                   lacking: frozenset[str]) -> dict[str, tuple[str, ...]]:
        """Only the volumes themselves tell which id an attachment is of."""
        handles: dict[str, str] = {}
        for volume in self._pages(VOLUMES, 'list persistentvolumes'):
            key = kubernetes_parse.handle(volume)
            if key in lacking:
                handles[parse.text(parse.inner(volume, 'metadata'),
                                   'name')] = key
        found = kubernetes_parse.elsewhere(every, handles, lacking)
        return {key: nodes for key, nodes in found.items()
                if self.node not in nodes}

    def concerns(self, volume: str, mounter: str) -> bool:
        """See :class:`base.AttachmentSource`."""
        return mounter == kubernetes_parse.MOUNTER and not base.is_uuid(
            volume)

    def _volume(self, name: str) -> Mapping[str, Any] | None:
        """A PersistentVolume, None: it has been deleted."""
        what = f'read persistentvolume {name}'
        try:
            found = self._client.get(
                f'{VOLUMES}/{urls.quote(name, safe="")}', what)
        except https.NotThere:
            return None
        return parse.mapping(found, what)

    def _pages(self, path: str, what: str) -> Iterator[parse.Document]:
        """Every object of a kind, a page at a time."""
        params = {'limit': str(PAGE)}
        for _ in range(self.pages_max):
            told = parse.mapping(self._client.get(path, what, params), what)
            yield from parse.items(told.get('items') or [], 'items')
            more = parse.optional(parse.inner(told, 'metadata'), 'continue')
            if not more:
                return
            params['continue'] = more
        raise exception.SourceNonsense(
            f'cannot {what}: because there is no end to it')
