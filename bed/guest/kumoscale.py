# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""An HTTPS server with KumoScale's REST API, in front of a Provisioner.

It serves real TLS with certificates of its own authority, asks for a bearer
token (and for a client certificate, if told so), may listen at several
addresses, logs every request, and lies or dies on demand. On a test machine
it stands before a MemoryStorage, in the guest before an NvmetArray:

    server = KumoScaleServer(Provisioner(MemoryStorage()), directory)
    server.start()
    ... server.url, server.pki.ca, server.token ...
    server.stop()

Everything runs in daemon threads of the caller.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import enum
import http.server
import json
import pathlib
import socket
import ssl
import threading
import time
from typing import Any
import urllib.parse

from bed.guest import pki
from bed.guest.provisioner import (
    Generation,
    GIB,
    Host,
    Json,
    MIB,
    Provisioner,
    Refused,
    Status,
)

__all__ = ['Fault', 'Generation', 'KumoScaleServer', 'Request']

TOKEN = 'bed-token'
# The kinds of requests by method and the first word of the path; a tenant's
# prefix is skipped before the look-up.
ROUTES = {
    ('GET', 'info'): 'info',
    ('POST', 'host_probe'): 'host_probe',
    ('GET', 'hosts'): 'hosts', ('DELETE', 'hosts'): 'delete_host',
    ('GET', 'volumes'): 'volumes', ('POST', 'volumes'): 'create_volume',
    ('DELETE', 'volumes'): 'delete_volume',
    ('PATCH', 'volumes'): 'expand_volume',
    ('GET', 'volumes_by_alias'): 'volumes_by_alias',
    ('GET', 'targets'): 'targets', ('GET', 'backends'): 'backends',
    ('POST', 'publish'): 'publish', ('POST', 'unpublish'): 'unpublish',
    ('POST', 'replica'): 'add_replica',
    ('PATCH', 'replica'): 'mark_or_set_replica',
    ('DELETE', 'replica'): 'confirm_deletion',
    ('POST', 'migrate_volume'): 'migrate_volume',
    ('GET', 'tasks'): 'tasks', ('PUT', 'tasks'): 'update_task',
    ('DELETE', 'tasks'): 'remove_task',
    ('POST', 'forward_log'): 'forward_log', ('GET', 'tenants'): 'tenants',
}
FIRST_WORDS = {word for _method, word in ROUTES}


class Fault(enum.Enum):
    """The ways in which the provisioner misbehaves, one at a time."""
    NONE = 'none'
    DOWN = 'connections are refused'
    SLOW = 'answers take delay_s'
    ERROR_500 = 'every answer is a 500'
    GARBAGE = 'answers are not JSON'
    TRUNCATED = 'answers stop in the middle'
    WRONG_CERTIFICATE = "the certificate is another authority's"
    UNAUTHORIZED = 'the token is not accepted any more'
    CONTRADICTION = 'two answers in a row do not agree'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of the request log."""
    kind: str
    method: str
    path: str
    body: Json
    at_s: float
    answer: str


class KumoScaleServer:
    """Serves a Provisioner at every one of ``addresses``."""

    def __init__(self, provisioner: Provisioner, directory: pathlib.Path, *,
                 addresses: Sequence[str] = ('127.0.0.1',), port: int = 0,
                 token: str = TOKEN, client_certificate: bool = False
                 ) -> None:
        self.provisioner = provisioner
        self.token = token
        self.addresses = tuple(addresses)
        self.port = port
        self.pki = pki.make(directory, self.addresses)
        self.client_certificate = client_certificate
        self.requests: list[Request] = []
        self.delay_s = 5.0
        self._faults: dict[str, Fault] = {}
        self._servers: dict[str, _Listener] = {}
        self._contradictions = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f'https://{self.addresses[0]}:{self.port}/'

    def start(self) -> None:
        for address in self.addresses:
            self._listen(address)

    def stop(self) -> None:
        for address in list(self._servers):
            self._close(address)

    # What a scenario does to it and asks it ------------------------------

    def break_down(self, fault: Fault, *, delay_s: float = 5.0,
                   address: str | None = None) -> None:
        """Makes one address, or all of them, misbehave from now on."""
        self.delay_s = delay_s
        for each in self.addresses if address is None else (address,):
            self._faults[each] = fault
            if fault is Fault.DOWN:
                self._close(each)
            elif each not in self._servers:
                self._listen(each)
            elif fault is Fault.WRONG_CERTIFICATE:
                # Those that are open showed the right one.
                self._servers[each].drop_connections()

    def mend(self) -> None:
        self.break_down(Fault.NONE)

    def fault(self, address: str) -> Fault:
        return self._faults.get(address, Fault.NONE)

    def count(self, kind: str, *, containing: str = '') -> int:
        """How often a kind of request was answered with a Success.

        Kinds are add_replica, mark_replica, set_replica_state,
        confirm_deletion, publish, volumes, targets, ... ``containing``
        narrows to requests with that text in the path or the body.
        """
        return len([r for r in self.requests_of(kind, containing)
                    if r.answer in ('Success', 'AlreadyPublished')])

    def requests_of(self, kind: str, containing: str = '') -> list[Request]:
        with self._lock:
            return [r for r in self.requests if r.kind == kind
                    and containing in f'{r.path} {r.body}']

    def forget_requests(self) -> None:
        with self._lock:
            self.requests.clear()

    def vendor_config(self) -> str:
        """What an operator writes into /etc/kioxia/provisioner.conf."""
        cert = (f'cert_file = {self.pki.client_pem}\n'
                if self.client_certificate else '')
        return (f'[DEFAULT]\nprov_ip = {",".join(self.addresses)}\n'
                f'prov_port = {self.port}\n{cert}token = {self.token}\n')

    # Answers ------------------------------

    def answer(self, method: str, target: str, body: Json,
               fault: Fault) -> Json | list[Json]:
        """The JSON answer to a request; raises Refused."""
        parts = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(parts.query))
        words = [urllib.parse.unquote(w)
                 for w in parts.path.split('/') if w]
        if len(words) > 1 and words[0] not in FIRST_WORDS:
            words = words[1:]  # a tenant's prefix
        kind = kind_of(method, words)
        answer: Json | list[Json]
        try:
            answer = self._dispatch(kind, words[1:], query, body)
            status = (answer.get('status', 'Success')
                      if isinstance(answer, dict) else 'Success')
        except Refused as refused:
            status = refused.status
            answer = envelope(refused.status, refused.description)
        self._log(kind, method, target, body, str(status))
        if fault is Fault.CONTRADICTION:
            return self._contradict(kind, answer)
        return answer

    def log_failure(self, method: str, target: str, answer: str) -> None:
        words = urllib.parse.urlsplit(target).path.strip('/').split('/')
        self._log(kind_of(method, words), method, target, {}, answer)

    def _log(self, kind: str, method: str, path: str, body: Json,
             answer: str) -> None:
        with self._lock:
            self.requests.append(Request(
                kind=kind, method=method, path=path, body=body,
                at_s=time.monotonic(), answer=answer))

    def _contradict(self, kind: str,
                    answer: Json | list[Json]) -> Json | list[Json]:
        """Every second list of volumes or targets tells another story."""
        if kind not in ('volumes', 'targets', 'volumes_by_alias'):
            return answer
        self._contradictions += 1
        if self._contradictions % 2:
            return answer
        lies: list[Json] = json.loads(json.dumps(answer))
        for entry in lies:
            for location in entry.get('location', []):
                location['replicaState'] = 'Missing'
            if 'targetName' in entry:
                entry['hostId'] = 'somebody-else'
        return lies

    def _dispatch(self, kind: str, args: list[str],
                  query: Mapping[str, str], body: Json
                  ) -> Json | list[Json]:
        prov = self.provisioner
        match kind, args:
            case 'info', []:
                return {'totalFreeSpace': 1000, 'version': '3.22.170',
                        'syslogsBackend': None}
            case 'host_probe', []:
                prov.probe(_host(body))
            case 'hosts', []:
                return [_host_json(host) for host in prov.hosts()
                        if query.get('hostName') in (None, host.name)]
            case 'delete_host', [host_id]:
                prov.forget_host(host_id)
            case 'volumes', []:
                return [prov.volume_json(v) for v in prov.volumes()]
            case 'volumes', [volume_id]:
                return [prov.volume_json(v) for v in prov.volumes()
                        if v.id == volume_id]
            case 'volumes_by_alias', [alias]:
                return [prov.volume_json(v) for v in prov.volumes()
                        if v.alias == alias]
            case 'create_volume', []:
                return self._create_volume(body)
            case 'delete_volume', [volume_id]:
                prov.delete_volume(volume_id)
            case 'expand_volume', [volume_id]:
                prov.expand(volume_id, _bytes(body.get('newCapacity')))
            case 'targets', []:
                if not query.keys() & {'hostId', 'volId'}:
                    raise Refused(Status.PARAMETERS_ERROR,
                                  'All parameters missing')
                return prov.targets_json(query.get('hostId'),
                                         query.get('volId'))
            case 'publish', []:
                return envelope(prov.publish(_text(body, 'hostId'),
                                             _text(body, 'volId')))
            case 'unpublish', []:
                prov.unpublish(body.get('hostId'), _text(body, 'volId'))
            case 'backends', []:
                return prov.backends_json()
            case 'backends', [backend_id]:
                return prov.backends_json(backend_id)
            case 'set_replica_state', [volume_id, replica_id, state]:
                prov.set_state(volume_id, replica_id, state)
            case 'add_replica', [volume_id]:
                prov.add_replica(volume_id, body)
            case 'mark_replica', [volume_id, replica_id]:
                prov.mark_for_deletion(volume_id, replica_id)
            case 'confirm_deletion', [volume_id, replica_id]:
                prov.confirm_deletion(volume_id, replica_id)
            case 'migrate_volume', []:
                prov.add_replica(_text(body, 'volId'))
                prov.mark_for_deletion(_text(body, 'volId'),
                                       _text(body, 'repId'))
            case 'tasks', []:
                return prov.tasks(query.get('taskId'), query.get('hostId'))
            case 'update_task', []:
                _text(body, 'taskId')
                prov.put_task(body)
            case 'remove_task', []:
                prov.remove_task(query.get('taskId', ''))
            case 'forward_log', []:
                prov.forwarded.append(body)
            case 'tenants', []:
                return [{'tenantId': '0', 'name': 'default',
                         'capacity': 1024, 'consumedCapacity': 24}]
            case _:
                raise Refused(Status.NOT_EXISTS, 'no such request')
        return envelope(Status.SUCCESS)

    def _create_volume(self, body: Json) -> Json:
        wishes = body.get('storageClass') or {}
        volume = self.provisioner.create_volume(
            _text(body, 'alias'), _bytes(body.get('capacity')) // MIB,
            int(wishes.get('numReplicas') or 1), volume_id=body.get('uuid'),
            max_replica_down_time_min=int(
                wishes.get('maxReplicaDownTime') or 0))
        return {**envelope(Status.SUCCESS), 'resID': volume.id}

    # Listening ------------------------------

    def _listen(self, address: str) -> None:
        listener = _Listener(self, address, self.port)
        self.port = listener.server_address[1]  # the same on all addresses
        self._servers[address] = listener
        threading.Thread(target=listener.serve_forever, daemon=True,
                         kwargs={'poll_interval': 0.05},
                         name=f'kumoscale-{address}').start()

    def _close(self, address: str) -> None:
        listener = self._servers.pop(address, None)
        if listener is not None:
            listener.shutdown()
            listener.server_close()
            listener.drop_connections()


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, owner: KumoScaleServer, address: str,
                 port: int) -> None:
        super().__init__((address, port), _Handler)
        self.owner = owner
        self.address = address
        self._open: set[socket.socket] = set()
        verify = owner.client_certificate
        self._honest = _context(owner.pki, owner.pki.server_pem, verify)
        self._rogue = _context(owner.pki, owner.pki.rogue_pem, verify)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Here, in the connection's own thread, so that a client that never
        # ends its handshake holds nobody else up.
        rogue = self.owner.fault(self.address) is Fault.WRONG_CERTIFICATE
        context = self._rogue if rogue else self._honest
        request.settimeout(30)
        try:
            with context.wrap_socket(request, server_side=True) as wrapped:
                self._open.add(wrapped)
                try:
                    super().finish_request(wrapped, client_address)
                finally:
                    self._open.discard(wrapped)
        except (OSError, ssl.SSLError) as error:
            self.owner.log_failure('TLS', f'/tls/{error.__class__.__name__}',
                                   'no handshake')

    def drop_connections(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has gone by itself


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = 'HTTP/1.1'
    # The header and the body go out in two writes: without this the second
    # waits for the acknowledgement of the first, 40 ms later.
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        owner = self.server.owner
        fault = owner.fault(self.server.address)
        raw = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if fault is Fault.SLOW:
            time.sleep(owner.delay_s)
        if fault is Fault.ERROR_500:
            self._fail(500, 'HTTP Status 500 - Internal Server Error')
        elif (fault is Fault.UNAUTHORIZED or self.headers.get('Authorization')
              != f'Bearer {owner.token}'):
            self._fail(401, 'HTTP Status 401 - Bad credentials')
        elif fault is Fault.GARBAGE:
            self._fail(200, '<html>it works!</html>')
        else:
            self._answer(raw, fault)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def _answer(self, raw: bytes, fault: Fault) -> None:
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            self._fail(400, 'HTTP Status 400 - Bad Request')
            return
        answer = self.server.owner.answer(self.command, self.path, body,
                                          fault)
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        if fault is Fault.TRUNCATED:
            data, self.close_connection = data[:len(data) // 2], True
        self.wfile.write(data)

    def _fail(self, code: int, text: str) -> None:
        self.server.owner.log_failure(self.command, self.path, str(code))
        data = text.encode()
        self.send_response(code)
        self.send_header('Content-Type', 'text/html')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_args: object) -> None:
        """The request log is KumoScaleServer.requests."""


def kind_of(method: str, words: Sequence[str]) -> str:
    if len(words) > 1 and words[0] not in FIRST_WORDS:
        words = words[1:]
    kind = ROUTES.get((method, words[0] if words else ''), 'unknown')
    if kind == 'mark_or_set_replica':
        return 'mark_replica' if len(words) == 3 else 'set_replica_state'
    return kind


def envelope(status: Status, description: str = '') -> Json:
    return {'status': str(status), 'description': description or str(status)}


def _context(keys: pki.Pki, pem: pathlib.Path,
             client_certificate: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(keys.ca)
    return context


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(Status.PARAMETERS_ERROR, f'{name} is missing')
    return value


def _bytes(value: object) -> int:
    """A capacity in GiB, which cinder sends as a number or as a string."""
    try:
        return round(float(str(value)) * GIB)
    except ValueError:
        raise Refused(Status.PARAMETERS_ERROR,
                      f'{value!r} is no capacity') from None


def _host(body: Json) -> Host:
    return Host(id=_text(body, 'hostId'), nqn=_text(body, 'hostNqn'),
                name=str(body.get('name', '')),
                client_type=str(body.get('clientType', '')),
                version=str(body.get('version', '')),
                duration_s=int(body.get('duration') or 0),
                probed_at_s=time.time())


def _host_json(host: Host) -> Json:
    return {'uuid': host.id, 'nqn': host.nqn, 'name': host.name,
            'clientType': host.client_type, 'version': host.version,
            'state': 'Available', 'duration': host.duration_s,
            'lastProbeTime': round(host.probed_at_s * 1000)}
