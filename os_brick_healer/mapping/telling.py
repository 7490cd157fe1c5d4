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
"""What status says about a mapped volume. Pure."""

from typing import Any

from os_brick_healer.mapping import model


def describe(seen: model.Seen | None,
             memory: model.Memory,
             doubt: str | None = None) -> dict[str, Any]:
    """Device, server and requests of one volume, as plain values.

    :param doubt: what a source of attachments says otherwise.
    """
    if seen is None or seen.attachment is None:
        return {'alias': None, 'device': None, 'mounter': None,
                'server': None}
    mapping = seen.attachment.mapping
    told: dict[str, Any] = {
        'alias': seen.attachment.alias,
        'device': None if mapping is None else mapping.order.device,
        'mounter': None if mapping is None else mapping.mounter,
        'source': None if mapping is None else dict(mapping.order.source),
        'server': _server(seen, memory),
        'transparent': None if mapping is None or mapping.abilities is None
        else mapping.abilities.transparent,
        'waiting': seen.waiting, 'heals': memory.heals,
        'deaths': len(memory.deaths_s)}
    if mapping is not None and mapping.lacks:
        told['lacks'] = mapping.lacks
    if memory.last_error is not None:
        told['note'] = memory.last_error
    if doubt is not None:
        told['doubt'] = doubt
    return told


def _server(seen: model.Seen, memory: model.Memory) -> dict[str, Any] | None:
    server = seen.server
    if server is None:
        return None
    return {'pid': server.pid, 'stopped': server.stopped,
            'proven': memory.proven_s is not None}
