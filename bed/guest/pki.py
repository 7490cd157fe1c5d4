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
"""A small certificate authority, by the openssl command.

Elliptic curves throughout: an RSA key takes seconds on an emulated CPU.
"""

from collections.abc import Sequence
import dataclasses
import ipaddress
import pathlib
import subprocess

DAYS = '7'
DEADLINE_S = 60
CA_EXTENSIONS = ('basicConstraints=critical,CA:TRUE',
                 'keyUsage=critical,keyCertSign,cRLSign')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Paths of PEM files; the ones named *_pem hold a key and its chain."""
    ca: pathlib.Path
    server_pem: pathlib.Path
    client_pem: pathlib.Path
    rogue_pem: pathlib.Path  # the right names, another authority


def make(directory: pathlib.Path, names: Sequence[str]) -> Pki:
    """An authority, a server's and a client's certificate, and a rogue."""
    directory.mkdir(parents=True, exist_ok=True)
    alternative = ','.join(
        f'{"IP" if _is_address(name) else "DNS"}:{name}' for name in names)
    server = (f'subjectAltName={alternative}',
              'extendedKeyUsage=serverAuth')
    for authority in ('ca', 'rogue-ca'):
        _openssl('req', '-x509', *_new_key(directory, authority),
                 '-subj', f'/CN=bed {authority}', '-days', DAYS,
                 *_added(CA_EXTENSIONS),
                 '-out', str(directory / f'{authority}.crt'))
    return Pki(
        ca=directory / 'ca.crt',
        server_pem=_issue(directory, 'server', 'ca', server),
        client_pem=_issue(directory, 'client', 'ca',
                          ('extendedKeyUsage=clientAuth',)),
        rogue_pem=_issue(directory, 'rogue', 'rogue-ca', server))


def _issue(directory: pathlib.Path, name: str, authority: str,
           extensions: Sequence[str]) -> pathlib.Path:
    _openssl('req', '-x509', *_new_key(directory, name),
             '-CA', str(directory / f'{authority}.crt'),
             '-CAkey', str(directory / f'{authority}.key'),
             '-subj', f'/CN=bed {name}', '-days', DAYS,
             *_added(('basicConstraints=CA:FALSE', *extensions)),
             '-out', str(directory / f'{name}.crt'))
    pem = directory / f'{name}.pem'
    pem.touch(mode=0o600)
    pem.write_bytes((directory / f'{name}.key').read_bytes()
                    + (directory / f'{name}.crt').read_bytes())
    return pem


def _new_key(directory: pathlib.Path, name: str) -> tuple[str, ...]:
    return ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1',
            '-nodes', '-keyout', str(directory / f'{name}.key'))


def _added(extensions: Sequence[str]) -> list[str]:
    return [word for each in extensions for word in ('-addext', each)]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _openssl(*arguments: str) -> None:
    done = subprocess.run(
        ['openssl', *arguments], check=False, timeout=DEADLINE_S, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise OSError(f'cannot make a certificate: because openssl says '
                      f'{done.stderr.strip()}')
