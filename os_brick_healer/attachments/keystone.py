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
"""Questions to Cinder by a session of keystoneauth; its one owner.

The session is made from a section of the configuration that other services
have as well (``[cinder]`` of nova.conf), with every kind of authentication
that is installed.
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import threading
from typing import Any

from keystoneauth1 import adapter, loading, plugin, session
from keystoneauth1 import exceptions as keystone
from keystoneauth1.loading import session as session_loading
from oslo_config import cfg

from os_brick_healer import deadline, exception
from os_brick_healer.attachments import parse, pools
from os_brick_healer.conf import opts

#: Attachments as objects of their own (Ocata).
MICROVERSION = '3.27'
ANSWER_BYTES_MAX = 64 * 1024 * 1024
_CHUNK_BYTES = 65536
#: What a document that is none makes of keystoneauth.
_BROKEN = (AttributeError, LookupError, TypeError)


class _Thread(threading.local):
    """Whether this thread is just asking for a token."""

    signing_in = False


class _Adapter(session.TCPKeepAliveAdapter):
    """keystoneauth's own, with connections that keep a deadline."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        pools.hold(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        found = super().proxy_manager_for(*args, **kwargs)
        pools.hold(found)
        return found


class _Session(session.Session):
    """A session that asks for no token in order to get one.

    A plugin that finds out which Keystone it has (``password``) asks again
    with a token if that is denied, and waits for its own lock for ever.
    """

    thread = _Thread()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for scheme in tuple(self.adapters):
            self.mount(scheme, _Adapter())

    @contextlib.contextmanager
    def signing_in(self) -> Iterator[None]:
        """No token is to be had from here on."""
        self.thread.signing_in = True
        try:
            yield
        finally:
            self.thread.signing_in = False

    def get_auth_headers(self, auth: plugin.BaseAuthPlugin | None = None,
                         ) -> dict[str, str] | None:
        if self.thread.signing_in:
            raise keystone.Unauthorized('Keystone asks for a token first')
        return super().get_auth_headers(auth)


class _Loader(session_loading.Session):
    @property
    def plugin_class(self) -> type[session.Session]:
        return _Session


class Client:
    """Cinder's API. Thread-safe.

    :raises ConfigError: the section does not tell who asks.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        group = conf[opts.GROUP]
        self._plain = bool(group.cinder_allow_http)
        self._session, self._auth = _sessions(conf)
        if not self._plain:
            _must_be_safe(conf, self._session, self._auth)
        if self._session.timeout is None:
            self._session.timeout = group.attachment_timeout
        self._api = adapter.Adapter(
            self._session, service_type='block-storage',
            interface=group.cinder_interface,
            region_name=group.cinder_region,
            default_microversion=MICROVERSION,
            client_name='os-brick-healer')

    def get(self, path: str, what: str, name: str,
            params: Mapping[str, str] | None = None) -> Any:
        """What stands under a name in an answer.

        :param what: for the errors: ``cannot WHAT``.
        :raises SourceError: there is none that can be used.
        """
        try:
            try:
                found = self._ask(path, params, what)
            except keystone.Unauthorized:     # the token is no longer good
                self._auth.invalidate()
                found = self._ask(path, params, what)
        except keystone.ClientException as error:
            raise _failure(error, what) from None
        except (OSError, ValueError) as error:   # requests' are OSErrors
            raise exception.SourceError(
                f'cannot {what}: because Cinder breaks off '
                f'({type(error).__name__})') from None
        except _BROKEN as error:
            raise exception.SourceNonsense(
                f'cannot {what}: because Keystone does not make sense '
                f'({type(error).__name__})') from None
        return parse.mapping(found, what).get(name)

    def endpoint(self) -> str:
        """Where Cinder is.

        :raises SourceError: nowhere, or without TLS.
        """
        with deadline.within(self._session.timeout):
            found = self._api.get_endpoint()
        if found is None:
            raise exception.SourceError(
                'cannot ask Cinder: because the catalogue of Keystone names '
                'no block-storage', hint='see cinder_interface and '
                'cinder_region')
        if not self._plain and not found.startswith('https://'):
            raise exception.SourceError(
                f'cannot ask Cinder: because {found} is without TLS',
                hint=f'[{opts.GROUP}] cinder_allow_http = true, if that '
                     'network is trusted', transient=False)
        return str(found)

    def _ask(self, path: str, params: Mapping[str, str] | None,
             what: str) -> Any:
        time_s = self._session.timeout
        with deadline.within(time_s), self._session.signing_in():
            self._auth.get_token(self._session)
        with deadline.within(time_s):
            self.endpoint()
            return self._answer(path, params, what)

    def _answer(self, path: str, params: Mapping[str, str] | None,
                what: str) -> Any:
        with self._api.get(
                path, params=dict(params or {}), log=False, stream=True,
                redirect=False, allow_reauth=False,
                connect_retries=0) as answer:
            if answer.status_code != 200:
                raise exception.SourceNonsense(
                    f'cannot {what}: because Cinder answers with HTTP '
                    f'status {answer.status_code}')
            return _json(answer, what)


def _json(answer: Any, what: str) -> Any:
    found = bytearray()
    for chunk in answer.iter_content(_CHUNK_BYTES):
        found += chunk
        if len(found) > ANSWER_BYTES_MAX:
            raise exception.SourceNonsense(
                f'cannot {what}: because the answer is too long')
    try:
        return json.loads(bytes(found))
    except (ValueError, RecursionError):
        raise exception.SourceNonsense(
            f'cannot {what}: because the answer is not JSON') from None


def _failure(error: keystone.ClientException,
             what: str) -> exception.SourceError:
    """Its class says what is wrong; its text may hold anything."""
    match error:
        case (keystone.Unauthorized() | keystone.Forbidden()
              | keystone.AuthorizationFailure()):
            return exception.SourceError(
                f'cannot {what}: because access is denied '
                f'({type(error).__name__})', transient=False,
                hint='the user needs the role admin')
        case keystone.SSLError():
            return exception.SourceError(
                f'cannot {what}: because a certificate is not accepted',
                hint='see cafile in the section of Cinder')
        case keystone.ConnectTimeout():
            return exception.SourceError(
                f'cannot {what}: because nobody answers in time')
        case keystone.ConnectionError() | keystone.DiscoveryFailure():
            return exception.SourceError(
                f'cannot {what}: because Keystone or Cinder cannot be '
                'reached')
        case keystone.HttpError():
            return exception.SourceError(
                f'cannot {what}: because Cinder answers with HTTP status '
                f'{error.http_status}')
    return exception.SourceError(
        f'cannot {what}: because of {type(error).__name__}')


def _must_be_safe(conf: cfg.ConfigOpts, made: _Session,
                  auth: plugin.BaseAuthPlugin) -> None:
    """Keystone is sent the password itself.

    :raises ConfigError: without TLS, or to whoever answers.
    """
    section: str = conf[opts.GROUP].cinder_auth_section
    url = getattr(auth, 'auth_url', None)
    why = ''
    if isinstance(url, str) and not url.lower().startswith('https://'):
        why = 'its auth_url is without TLS'
    elif made.verify is False:
        why = 'it says insecure'
    if why:
        raise exception.ConfigError(
            f'cannot ask Cinder: because section [{section}] is not to be '
            f'used so: {why}', hint=f'[{opts.GROUP}] cinder_allow_http = '
            'true, if that network is trusted')


def _sessions(conf: cfg.ConfigOpts,
              ) -> tuple[_Session, plugin.BaseAuthPlugin]:
    section: str = conf[opts.GROUP].cinder_auth_section
    try:
        loading.register_auth_conf_options(conf, section)
        loading.register_session_conf_options(conf, section)
        auth = loading.load_auth_from_conf_options(conf, section)
        made = _Loader().load_from_conf_options(conf, section, auth=auth)
    except (cfg.Error, keystone.ClientException, ValueError) as error:
        raise exception.ConfigError(
            f'cannot ask Cinder: because section [{section}] cannot be used '
            f'({type(error).__name__})',
            hint='it has the options of keystoneauth: auth_type, auth_url, '
                 'username and so on') from None
    if auth is None:
        raise exception.ConfigError(
            f'cannot ask Cinder: because section [{section}] names no '
            'auth_type', hint=f'[{opts.GROUP}] cinder_auth_section')
    assert isinstance(made, _Session)
    return made, auth
