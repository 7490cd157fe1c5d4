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
"""Cinder: the volumes that it has attached to this host.

``GET /volumes/detail`` shows an administrator which host each attachment is
of, and ``GET /attachments/{id}`` which image. Cinder has no filter for the
host: every volume of the cloud is paged through, so this is asked seldom.
"""

from collections.abc import Iterator
import threading

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.attachments import base, cinder_parse, keystone, parse

PAGE = 1000
PAGES_MAX = 1000
MOUNTER = 'rbd-nbd'


class CinderSource(base.AttachmentSource):
    """Cinder, as an administrator sees it."""

    guarantees = base.Guarantees(authoritative=False, knows_hosts=True,
                                 knows_images=True)
    pages_max = PAGES_MAX

    def __init__(self, conf: cfg.ConfigOpts, host: str) -> None:
        super().__init__(conf, host)
        self._client = keystone.Client(conf)
        self._lock = threading.Lock()
        #: Images of attachments of this host: one never changes.
        self._images: dict[str, dict[str, str] | None] = {}

    def __repr__(self) -> str:
        return f'CinderSource(host {self.host})'

    def probe(self) -> str:
        """See :class:`base.AttachmentSource`."""
        self._client.get('/volumes/detail', 'list volumes', 'volumes',
                  {'all_tenants': '1', 'limit': '1'})
        return f'Cinder at {self._client.endpoint()}, host {self.host}'

    def listing(self, about: frozenset[str]) -> base.Listing:
        """See :class:`base.AttachmentSource`."""
        places = cinder_parse.places(self._volumes())
        cinder_parse.must_know_hosts(places)
        ours = [one for one in places if one.host == self.host]
        self.must_be_possible(len(ours))
        here = {one.volume: cinder_parse.attached(one, image)
                for one in ours
                if (image := self._image(one.attachment)) is not None}
        with self._lock:
            kept = {one.attachment for one in ours}
            self._images = {key: image for key, image
                            in self._images.items() if key in kept}
        elsewhere = cinder_parse.elsewhere(places, self.host, about)
        return base.Listing(here=here, elsewhere={
            volume: hosts for volume, hosts in elsewhere.items()
            if self._is_settled(volume)})

    def concerns(self, volume: str, mounter: str) -> bool:
        """See :class:`base.AttachmentSource`."""
        return mounter == MOUNTER and base.is_uuid(volume)

    def _volumes(self) -> Iterator[parse.Document]:
        """Every volume of the cloud, a page at a time."""
        params = {'all_tenants': '1', 'limit': str(PAGE),
                  'sort': 'id:asc'}
        for _ in range(self.pages_max):
            page = parse.items(
                self._client.get('/volumes/detail', 'list volumes', 'volumes',
                          params), 'volumes')
            if not page:
                return
            yield from page
            # Links name the address that Cinder believes it has.
            params['marker'] = parse.text(page[-1], 'id')
        raise exception.SourceNonsense(
            'cannot list volumes: because there is no end to it')

    def _image(self, attachment: str) -> dict[str, str] | None:
        """The image of an attachment, None: it is of another kind."""
        with self._lock:
            if attachment in self._images:
                return self._images[attachment]
        found = cinder_parse.names(parse.mapping(self._client.get(
            f'/attachments/{attachment}', 'read an attachment',
            'attachment'), 'attachment'))
        with self._lock:
            self._images[attachment] = found
        return found

    def _is_settled(self, volume: str) -> bool:
        """A volume that is on its way to this host is not elsewhere."""
        return cinder_parse.is_settled(parse.items(self._client.get(
            '/attachments', 'list attachments', 'attachments',
            {'all_tenants': '1', 'volume_id': volume}), 'attachments'))
