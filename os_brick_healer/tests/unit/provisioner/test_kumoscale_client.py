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
import dataclasses
import ssl
import threading
import time
from typing import Any

import fixtures

from os_brick_healer import exception
from os_brick_healer.provisioner import kumoscale_client, kumoscale_conf
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.provisioner import scripted

TOKEN = 'the-token-that-must-not-show'


class ClientTestCase(base.TestCase):
    """A client and a server that says what it is told to."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.temp_dir()

    def serve(self, script: scripted.Script | bytes,
              like: scripted.ScriptedServer | None = None
              ) -> scripted.ScriptedServer:
        keys = None if like is None else like.pki
        if isinstance(script, bytes):
            answer = script
            return self.serve(lambda _tls, _request: answer, like)
        return self.useFixture(
            scripted.ScriptedServer(self.directory, script, keys))

    def access(self, server: scripted.ScriptedServer,
               **changes: Any) -> kumoscale_conf.Access:
        return dataclasses.replace(kumoscale_conf.Access(
            addresses=('127.0.0.1',), port=server.port, token=TOKEN,
            cert_file=None, ca_file=str(server.pki.ca), server_name=None,
            insecure=False, tenant=None, connect_timeout_s=1.0,
            read_timeout_s=1.0), **changes)

    def client(self, server: scripted.ScriptedServer,
               **changes: Any) -> kumoscale_client.Client:
        made = kumoscale_client.Client(self.access(server, **changes))
        self.addCleanup(made.close)
        return made

    def error(self, client: kumoscale_client.Client,
              kind: type[exception.ProvisionerError]
              ) -> exception.ProvisionerError:
        """The error of a GET; it comes in time and keeps the secret."""
        began_s = time.monotonic()
        error = self.assertRaises(kind, client.get, 'info', 'ask it')
        self.assertLess(time.monotonic() - began_s, base.PATIENCE_S)
        self.assertNotIn(TOKEN, f'{error} {error!r} {error.__context__!r}')
        self.assertTrue(str(error).startswith('cannot '), str(error))
        return error


class AnswerTest(ClientTestCase):
    def test_a_good_answer_is_read(self) -> None:
        client = self.client(self.serve(scripted.reply(b'{"version": "3"}')))
        self.assertEqual({'version': '3'}, client.get('info', 'ask').value)

    def test_the_token_goes_out_as_a_bearer_token(self) -> None:
        server = self.serve(scripted.reply(b'[]'))
        self.client(server).get('info', 'ask it')
        self.assertIn(f'authorization: bearer {TOKEN}',
                      server.requests[0].decode().lower())

    def test_nothing_at_all_is_success(self) -> None:
        client = self.client(self.serve(scripted.reply(b'')))
        self.assertEqual('Success', client.do('PATCH', 'x', 'do it'))

    def test_a_word_other_than_success_is_a_failure(self) -> None:
        client = self.client(self.serve(scripted.reply(
            b'{"status": "Whatever", "description": "so \\n there"}')))
        error = self.error(client, exception.ProvisionerError)
        self.assertIn('Whatever: so   there', str(error))
        self.assertTrue(error.transient)

    def test_a_word_that_is_as_good_is_success(self) -> None:
        for status in ('200 OK', '409 Conflict'):
            client = self.client(self.serve(scripted.reply(
                b'{"status": "AlreadyPublished"}', status)))
            self.assertEqual('AlreadyPublished', client.do(
                'POST', 'publish', 'do it',
                accept=frozenset(('AlreadyPublished',))))

    def test_success_with_a_bad_status_is_a_failure(self) -> None:
        client = self.client(self.serve(scripted.reply(
            b'{"status": "Success"}', '400 Bad Request')))
        self.assertIn('HTTP status 400', str(self.error(
            client, exception.ProvisionerRefused)))

    def test_what_is_gone_is_told_apart(self) -> None:
        for answer in (scripted.reply(b'{"status": "NotExists"}'),
                       scripted.reply(b'{"status": "DeviceNotFound"}'),
                       scripted.reply(b'no page', '404 Not Found')):
            self.error(self.client(self.serve(answer)),
                       kumoscale_client.NoSuchThing)

    def test_too_many_requests_is_not_a_no(self) -> None:
        client = self.client(self.serve(scripted.reply(
            b'later', '429 Too Many Requests')))
        self.assertTrue(
            self.error(client, exception.ProvisionerError).transient)

    def test_denied_is_refused(self) -> None:
        for status in ('401 Unauthorized', '403 Forbidden'):
            client = self.client(self.serve(scripted.reply(b'<p>', status)))
            self.error(client, exception.ProvisionerRefused)

    def test_a_deed_is_answered_with_an_object(self) -> None:
        for body in (b'5', b'"Success"', b'[1]', b'{"status": 5}'):
            client = self.client(self.serve(scripted.reply(body)))
            self.assertRaises(exception.ProvisionerNonsense, client.do,
                              'PATCH', 'x', 'do it')

    def test_a_description_that_echoes_the_token_is_cleaned(self) -> None:
        client = self.client(self.serve(scripted.reply(
            b'{"status": "Bad", "description": "no ' + TOKEN.encode()
            + b'"}')))
        self.assertIn('(secret)', str(self.error(
            client, exception.ProvisionerError)))

    def test_a_path_is_quoted_and_stays_below_its_tenant(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        client = self.client(server, tenant='t-1')
        self.assertEqual('t-1/replica/..%2F..%2Finfo%3Fx',
                         client.path('replica', '../../info?x'))
        self.assertEqual('hosts', client.path('hosts', tenant=False))


class HostileTest(ClientTestCase):
    def test_silence_is_given_up(self) -> None:
        server = self.serve(lambda _tls, _request: time.sleep(60))
        self.error(self.client(server), exception.ProvisionerUnreachable)

    def test_a_byte_now_and_then_is_given_up(self) -> None:
        def drip_header(tls: ssl.SSLSocket, _request: bytes) -> None:
            tls.sendall(b'HTTP/1.1 200 OK\r\nX-Slow: ')
            drip(tls)

        def drip_body(tls: ssl.SSLSocket, _request: bytes) -> None:
            tls.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n')
            drip(tls)

        def drip(tls: ssl.SSLSocket) -> None:
            for _ in range(600):
                tls.sendall(b'x')
                time.sleep(0.1)

        for script in (drip_header, drip_body):
            self.error(self.client(self.serve(script)),
                       exception.ProvisionerUnreachable)

    def test_an_answer_without_end_is_cut(self) -> None:
        def flood(tls: ssl.SSLSocket, _request: bytes) -> None:
            tls.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
            while True:
                tls.sendall(b'[' * 1048576)

        client = self.client(self.serve(flood), read_timeout_s=60.0)
        began_s = time.monotonic()
        self.assertRaises(exception.ProvisionerNonsense,
                          client.get, 'info', 'ask it')
        self.assertLess(time.monotonic() - began_s, base.PATIENCE_S)

    def test_half_an_answer_is_no_answer(self) -> None:
        def half(tls: ssl.SSLSocket, _request: bytes) -> bytes:
            return b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]'

        self.error(self.client(self.serve(half)),
                   exception.ProvisionerUnreachable)

    def test_an_answer_is_late_by_the_clients_own_clock(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        ticks_s = iter((0.0,))
        client = kumoscale_client.Client(
            self.access(server), lambda: next(ticks_s, 1000.0))
        self.addCleanup(client.close)
        self.assertIn('does not answer within 1 s', str(self.error(
            client, exception.ProvisionerUnreachable)))

    def test_garbage_is_an_error(self) -> None:
        self.error(self.client(self.serve(b'\0\1\2\r\n\r\n')),
                   exception.ProvisionerUnreachable)
        self.error(self.client(self.serve(scripted.reply(b'<html>'))),
                   exception.ProvisionerNonsense)
        self.error(self.client(self.serve(scripted.reply(b'[' * 100000))),
                   exception.ProvisionerNonsense)

    def test_a_redirect_is_not_followed(self) -> None:
        other = self.serve(scripted.reply(b'{}'))
        to = f'Location: https://127.0.0.1:{other.port}/info\r\n'
        server = self.serve(scripted.reply(b'', '307 Temporary Redirect',
                                           to.encode()), like=other)
        self.error(self.client(server), exception.ProvisionerNonsense)
        self.assertEqual([], other.requests)

    def test_a_cookie_or_a_password_file_changes_nothing(self) -> None:
        netrc = self.write_file(
            self.temp_dir() / 'netrc',
            'machine 127.0.0.1 login eve password swordfish\n')
        self.useFixture(fixtures.EnvironmentVariable('NETRC', str(netrc)))
        self.useFixture(fixtures.EnvironmentVariable('HTTPS_PROXY', 'http://127.0.0.1:9'))
        server = self.serve(scripted.reply(b'{}'))
        self.client(server).get('info', 'ask it')
        self.assertIn(TOKEN, server.requests[0].decode())


class WayOutTest(ClientTestCase):
    """Where it is this host that is wrong, the error says what to mend."""

    def test_whoever_refuses_is_named_with_the_port(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        client = self.client(server, port=1)
        self.assertIn('127.0.0.1:1 refuses connections', str(self.error(
            client, exception.ProvisionerUnreachable)))

    def test_a_name_that_leads_nowhere_is_told_apart(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        error = self.error(self.client(server, addresses=('ks.invalid',)),
                           exception.ProvisionerUnreachable)
        self.assertIn('cannot be resolved', str(error))
        self.assertIn('prov_ip', error.hint or '')

    def test_a_certificate_leads_to_the_settings_that_judge_it(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        for changes in ({'ca_file': None}, {'server_name': 'other.name'}):
            error = self.error(self.client(server, **changes),
                               exception.ProvisionerUnreachable)
            for setting in ('kumoscale_ca_file', 'server_name'):
                self.assertIn(setting, error.hint or '')

    def test_certificates_that_cannot_be_read_lead_to_their_setting(
            self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        error = self.assertRaises(
            exception.ConfigError, self.client, server, ca_file='/none.pem')
        self.assertIn('kumoscale_ca_file', error.hint or '')


class TrustTest(ClientTestCase):
    def test_another_authority_is_not_trusted(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        stranger = scripted.ScriptedServer(self.temp_dir(), server.script)
        client = self.client(server, ca_file=str(stranger.pki.ca))
        self.assertIn('certificate', str(self.error(
            client, exception.ProvisionerUnreachable)))
        self.assertEqual([], server.requests)

    def test_the_systems_authorities_do_not_know_ours(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        self.error(self.client(server, ca_file=None),
                   exception.ProvisionerUnreachable)

    def test_the_name_in_the_certificate_counts(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        self.error(self.client(server, addresses=('localhost',)),
                   exception.ProvisionerUnreachable)
        self.assertEqual([], server.requests)

    def test_a_server_name_stands_for_the_address(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        client = self.client(server, addresses=('localhost',),
                             server_name='127.0.0.1')
        self.assertEqual({}, client.get('info', 'ask it').value)

    def test_insecure_verifies_nothing(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        client = self.client(server, ca_file=None, insecure=True,
                             addresses=('localhost',))
        self.assertEqual({}, client.get('info', 'ask it').value)

    def test_unusable_certificates_are_errors_of_configuration(
            self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        odd = self.write_file(self.temp_dir() / 'odd.pem', 'nothing')
        for wrong in ({'ca_file': '/nonexistent'}, {'ca_file': str(odd)},
                      {'cert_file': '/nonexistent'},
                      {'cert_file': str(odd)}):
            self.assertRaises(exception.ConfigError,
                              kumoscale_client.Client,
                              self.access(server, **wrong))


class AddressesTest(ClientTestCase):
    """127.0.0.1 answers, the others do not."""

    def test_the_first_that_works_moves_to_the_front(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        client = self.client(server, addresses=('127.0.0.3', '127.0.0.1'))
        client.get('info', 'ask it')
        self.assertEqual(f'127.0.0.1:{server.port}', client.address)
        self.assertEqual(2, client.requests)
        client.get('info', 'ask it')
        self.assertEqual(3, client.requests)

    def test_all_are_named_when_none_works(self) -> None:
        server = self.serve(scripted.reply(b'', '503 Busy'))
        client = self.client(server, addresses=('127.0.0.3', '127.0.0.1'))
        self.assertIn(
            f'127.0.0.3:{server.port} refuses connections; '
            f'127.0.0.1:{server.port} answers with HTTP status 503',
            str(self.error(
                client, exception.ProvisionerUnreachable)))

    def test_a_no_is_an_answer(self) -> None:
        server = self.serve(scripted.reply(b'no', '400 Bad Request'))
        client = self.client(server, addresses=('127.0.0.1', '127.0.0.3'))
        self.error(client, exception.ProvisionerRefused)
        self.assertEqual(1, client.requests)

    def test_what_must_not_be_done_twice_is_sent_once(self) -> None:
        server = self.serve(lambda _tls, _request: None)
        client = self.client(server, addresses=('127.0.0.1', '127.0.0.3'))
        self.assertRaises(kumoscale_client.Uncertain, client.do,
                          'POST', 'replica/x', 'do it', body={}, once=True)
        self.assertEqual(1, client.requests)

    def test_what_was_never_sent_goes_to_the_next(self) -> None:
        server = self.serve(scripted.reply(b'{"status": "Success"}'))
        client = self.client(server, addresses=('127.0.0.3', '127.0.0.1'))
        self.assertEqual('Success', client.do(
            'POST', 'replica/x', 'do it', body={}, once=True))

    def test_many_threads_share_a_client(self) -> None:
        server = self.serve(scripted.reply(b'{}'))
        client = self.client(server, addresses=('127.0.0.3', '127.0.0.1'),
                             read_timeout_s=10.0)
        threads = [threading.Thread(target=client.get, args=('i', 'ask'))
                   for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(16, len(server.requests))
