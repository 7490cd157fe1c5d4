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
"""Acme's storage, as far as its API shows."""

import http.server
import json
import threading
import time
import uuid

TOKEN = 'acme-token-that-must-not-show'  # noqa: S105


class Storage:
    """Volumes in memory, behind a real HTTP server; ``trouble`` breaks it."""

    def __init__(self):
        self.volumes = {}
        self.requests = 0
        self.trouble = None
        self.lose_answers = False
        self.lock = threading.Lock()
        self.server = None
        self.port = 0
        self.start()

    def start(self):
        handler = type('Handler', (Handler,), {'storage': self})
        self.server = Server(('127.0.0.1', self.port), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True,
                         args=(0.02,)).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def create(self, hosts, replicas):
        name = str(uuid.uuid4())
        self.volumes[name] = {
            'id': name, 'name': f'vol-{name[:8]}', 'bytes': 1 << 30,
            'copies': replicas, 'hosts': sorted(hosts), 'requests': {},
            'legs': [new_leg() for _ in range(replicas)]}
        return name

    def answer(self, method, words, body):
        """The answer to a request; KeyError means 404."""
        match method, words:
            case 'PUT', ['hosts', _host]:
                return {'version': '1.0'}
            case 'GET', ['hosts', host, 'volumes']:
                return {'volumes': [v for v in self.volumes.values()
                                    if host in v['hosts']]}
            case 'PUT', ['volumes', volume, 'hosts', host]:
                holders = self.volumes[volume]['hosts']
                holders[:] = sorted({*holders, host})
            case 'PUT', ['volumes', volume, 'legs', leg, 'state']:
                self.leg(volume, leg)['state'] = body['state']
            case 'DELETE', ['volumes', volume, 'legs', leg]:
                self.volumes[volume]['legs'].remove(self.leg(volume, leg))
            case 'PUT', ['volumes', volume, 'replacements', request]:
                made = self.volumes[volume]['requests']
                if request not in made:
                    self.leg(volume, body['leg'])['state'] = 'missing'
                    made[request] = new_leg('synchronizing')
                    self.volumes[volume]['legs'].append(made[request])
            case _:
                raise KeyError
        return {}

    def leg(self, volume, leg):
        return {one['id']: one for one in self.volumes[volume]['legs']}[leg]


def new_leg(state='available'):
    name = str(uuid.uuid4())
    return {'id': f'leg-{name[:8]}', 'nqn': f'nqn.2026-11.com.acme:{name}',
            'uuid': name, 'address': '192.0.2.1', 'port': 4420,
            'state': state}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, _request, _address):
        """A client that has given up is what a test of slowness wants."""


class Handler(http.server.BaseHTTPRequestHandler):
    storage: Storage

    def handle_any(self):
        storage = self.storage
        raw = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        storage.requests += 1
        allowed = self.headers['Authorization'] == f'Bearer {TOKEN}'
        if storage.trouble == 'slow':
            time.sleep(2)
        if storage.trouble == 'error':
            self.say(500, b'broken')
        elif storage.trouble == 'garbage':
            self.say(200, b'<html>')
        elif storage.trouble == 'denied' or not allowed:
            self.say(401, b'')
        else:
            self.obey(self.path.split('/')[2:], json.loads(raw or 'null'))

    do_GET = do_PUT = do_DELETE = handle_any

    def obey(self, words, body):
        try:
            with self.storage.lock:
                text = json.dumps(self.storage.answer(
                    self.command, words, body))
        except KeyError:
            self.say(404, b'')
            return
        if not (self.storage.lose_answers and 'replacements' in words):
            self.say(200, text.encode())

    def say(self, status, text):
        self.send_response(status)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_args):
        """Nobody reads it."""
