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
"""Acme storage, for os-brick-healer."""

import http.client
import json
import time
from urllib import parse

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.provisioner import base, reading

GROUP = 'acme'
OPTS = [
    cfg.URIOpt('url', schemes=['https', 'http'], default='https://acme',
               help='Where the storage is. Plain http is for tests.'),
    cfg.StrOpt('token', secret=True, help='What the storage knows us by.'),
    cfg.FloatOpt('timeout', default=20.0, min=0.1,
                 help='Seconds that one request may take.'),
]
ANSWER_BYTES_MAX = 16 * 1024 * 1024


class AcmeProvisioner(base.Provisioner):
    """Acme's volumes. It answers for a host in one request."""

    guarantees = base.Guarantees(
        batch=True, knows_hosts=True, idempotent_replacement=True)

    def __init__(self, conf, host):
        super().__init__(conf, host)
        conf.register_opts(OPTS, GROUP)
        self._settings = conf[GROUP]
        self._us = parse.quote(host.name, safe='')

    # What an operator sees: a name, a version, never a password.
    def probe(self):
        answer = self._ask('PUT', f'hosts/{self._us}', {'nqn': self.host.nqn})
        return f'Acme storage {answer.key("version").text()}'

    # One question, one answer: all volumes of this host.
    def volumes(self):
        answer = self._ask('GET', f'hosts/{self._us}/volumes')
        return {volume.id: volume
                for volume in map(_volume, answer.key('volumes').each())}

    def report(self, volume, replica, state):
        self._ask('PUT', _path(volume, replica) + '/state',
                  {'state': state.value})

    # Acme takes our id for the request as its own: asking twice is safe.
    def request_replacement(self, volume, replica, request_id):
        path = f'{_path(volume)}/replacements/{parse.quote(request_id)}'
        self._ask('PUT', path, {'leg': replica})

    def publish(self, volume):
        self._ask('PUT', f'{_path(volume)}/hosts/{self._us}')

    def confirm_removal(self, volume, replica):
        try:
            self._ask('DELETE', _path(volume, replica))
        except NotThere:
            return  # gone already, which is what was wanted

    def _ask(self, method, path, body=None):
        """One request: in time, in bounds, and only our errors."""
        what = f'{method} {path} at Acme'
        connection = self._connection()
        try:
            deadline_s = time.monotonic() + self._settings.timeout
            connection.request(
                method, f'/v1/{path}', json.dumps(body),
                {'Authorization': f'Bearer {self._settings.token}'})
            response = connection.getresponse()
            text = _read(response, deadline_s)
        except (OSError, http.client.HTTPException) as error:
            raise exception.ProvisionerUnreachable(
                f'cannot {what}: because there is no answer '
                f'({type(error).__name__})') from None
        finally:
            connection.close()
        if response.status == 404:
            raise NotThere(f'cannot {what}: because there is no such thing')
        if response.status in (401, 403):
            raise exception.ProvisionerRefused(
                f'cannot {what}: because it denies access',
                hint=f'check [{GROUP}] token')
        if response.status != 200:
            raise exception.ProvisionerError(
                f'cannot {what}: because its status is {response.status}')
        return reading.load(text, f'the answer to {what}')

    def _connection(self):
        url = parse.urlsplit(self._settings.url)
        secure = url.scheme == 'https'
        kind = (http.client.HTTPSConnection if secure
                else http.client.HTTPConnection)
        return kind(url.hostname, url.port, timeout=self._settings.timeout)


class NotThere(exception.ProvisionerRefused):
    """Acme knows no such volume, leg or host."""


def _path(volume, replica=None):
    path = f'volumes/{parse.quote(volume, safe="")}'
    if replica is not None:
        path += f'/legs/{parse.quote(replica, safe="")}'
    return path


def _read(response, deadline_s):
    found = b''
    while chunk := response.read1(65536):
        found += chunk
        if len(found) > ANSWER_BYTES_MAX or time.monotonic() > deadline_s:
            raise OSError
    return found


# A Cursor checks each step; what it raises names the key that is wrong.
def _volume(entry):
    name = base.VolumeId(entry.key('id').text())
    try:
        return base.Volume(
            id=name, alias=entry.key('name').text(),
            size_bytes=entry.key('bytes').integer(1, 1 << 62),
            replica_count=entry.key('copies').integer(1, 16),
            replicas=tuple(_replica(leg) for leg in entry.key('legs').each()),
            hosts=frozenset(h.text() for h in entry.key('hosts').each()))
    except exception.ProvisionerNonsense as error:
        return base.Volume(id=name, alias='', size_bytes=None,
                           replica_count=0, replicas=(), hosts=frozenset(),
                           nonsense=str(error))


def _replica(leg):
    portal = base.Portal(address=leg.key('address').text(),
                         port=leg.key('port').integer(1, 65535))
    states = {state.value: state for state in base.ReplicaState}
    return base.Replica(
        id=base.ReplicaId(leg.key('id').text()), nqn=leg.key('nqn').text(),
        namespace_uuid=leg.key('uuid').uuid(), portals=(portal,),
        state=states.get(leg.key('state').text(), base.ReplicaState.UNKNOWN))
