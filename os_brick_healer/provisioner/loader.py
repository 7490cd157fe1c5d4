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
"""The one provisioner plugin that the operator named; who this host is."""

from collections.abc import Callable
import socket

from oslo_config import cfg

from os_brick_healer import exception, plugins, regular
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import base

NAMESPACE = 'os_brick_healer.provisioners'
HOSTNQN_FILE = '/etc/nvme/hostnqn'

_TEXT_BYTES_MAX = 4096


def load(conf: cfg.ConfigOpts, host: base.HostIdentity, *,
         name: str | None = None) -> base.Provisioner:
    """Load the plugin ``[os_brick_healer] provisioner``, and only that one.

    :param name: what the option was before; None: as it is now.
    :raises ConfigError: there is no such plugin, or it does not load.
    """
    name = conf[opts.GROUP].provisioner if name is None else name
    plugin = _find(name)
    if not (isinstance(plugin, type) and issubclass(plugin, base.Provisioner)
            and isinstance(getattr(plugin, 'guarantees', None),
                           base.Guarantees)):
        raise _cannot(name, f'{plugin!r} is not a Provisioner class that '
                      'declares its guarantees')
    try:
        return plugin(conf, host)
    except exception.HealerError:
        raise
    except Exception as error:
        # anything; its text may hold anything, too, a password for one.
        raise _cannot(
            name, f'it raises {type(error).__name__}') from error


def installed() -> tuple[str, ...]:
    """The names of all plugins; none of them is imported."""
    return plugins.installed(NAMESPACE)


def _find(name: str) -> object:
    return plugins.find(NAMESPACE, name, f'[{opts.GROUP}] provisioner',
                        _cannot)


def _cannot(name: str, cause: str,
            hint: str | None = None) -> exception.ConfigError:
    return exception.ConfigError(
        f'cannot load the provisioner plugin {name}: because {cause}',
        hint=hint)


def host_identity(
        conf: cfg.ConfigOpts, *, uuid: Callable[[], str | None],
        nqn: Callable[[], str | None] = lambda: None,
        hostnqn_file: str = HOSTNQN_FILE) -> base.HostIdentity:
    """Who this host is, in the words that nova gave to cinder.

    The name is nova's ``host`` option where conf knows it.

    :param uuid: what os-brick reports as the host's uuid; finding it out
        takes a root command, so the caller brings it.
    :param nqn: asked when ``hostnqn_file`` does not tell; os-brick creates
        the file when nova first asks for the connector's properties.
    :raises ConfigError: there is no NQN.
    """
    found = _first_line(hostnqn_file) or nqn()
    if not found or not found.startswith('nqn.'):
        raise exception.ConfigError(
            'cannot tell who this host is: because it has no NVMe host NQN '
            f'in {hostnqn_file}',
            hint='write the output of "nvme gen-hostnqn" into it; '
                 'nova-compute does so by itself when it starts')
    return base.HostIdentity(name=host_name(conf), nqn=found, uuid=uuid())


def host_name(conf: cfg.ConfigOpts) -> str:
    """What nova calls this host; the host's own name where nova is silent.
    """
    try:
        return conf.host or socket.gethostname()
    except cfg.NoSuchOptError:
        return socket.gethostname()


def _first_line(path: str) -> str:
    try:
        text = regular.read(path, _TEXT_BYTES_MAX).decode('ascii')
        return text.partition('\n')[0].strip()
    except (OSError, UnicodeDecodeError):
        return ''
