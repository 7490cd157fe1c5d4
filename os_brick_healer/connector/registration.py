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
"""How os-brick's factory comes to build our connector.

os-brick keeps class names in a dictionary of ``os_brick.initiator.connector``
and imports the class when it builds a connector. Two entries are replaced by
our class's name. The hook runs while os-brick is being imported, in one of
two orders:

- ``connector`` first: it imports every connector as the last thing it does,
  so the dictionary is there, in a module that is half imported;
- ``nvmeof`` first: ``connector`` comes later, or never. A finder waits for
  its import. Nothing may be imported here instead: ``nvmeof`` itself is half
  imported, and ``connector`` would not find its class in it.

Nothing of os-brick is imported by this module.
"""

from collections.abc import Sequence
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import types

LOG = logging.getLogger(__name__)

MODULE = 'os_brick.initiator.connector'
MAPPING = '_connector_mapping_linux'
PROTOCOLS = ('NVME', 'NVMEOF')
STOCK = 'os_brick.initiator.connectors.nvmeof.NVMeOFConnector'
OURS = 'os_brick_healer.connector.nvmeof.HealingNVMeOFConnector'
RBD = 'RBD'
STOCK_RBD = 'os_brick.initiator.connectors.rbd.RBDConnector'
OURS_RBD = 'os_brick_healer.connector.rbd.HealingRBDConnector'
#: A protocol that os-brick does not have: see connector.nbd.
NBD = 'NBD'
OURS_NBD = 'os_brick_healer.connector.nbd.HealingNBDConnector'


def install() -> None:
    """Register now if that is possible, and whenever os-brick is imported."""
    if not any(isinstance(f, _Waiter) for f in sys.meta_path):
        sys.meta_path.insert(0, _Waiter())
    register()


def register() -> bool:
    """Replace os-brick's class by ours; whether ours is in place.

    A class that somebody else has put there is left alone, and an
    installation of ours that is not whole is not registered.
    """
    mapping = getattr(sys.modules.get(MODULE), MAPPING, None)
    if not isinstance(mapping, dict) or not _whole():
        return False
    for protocol in PROTOCOLS:
        if mapping.get(protocol) == STOCK:
            mapping[protocol] = OURS
    if mapping.get(RBD) == STOCK_RBD:
        mapping[RBD] = OURS_RBD
    mapping.setdefault(NBD, OURS_NBD)
    return all(mapping.get(protocol) == OURS for protocol in PROTOCOLS)


def _whole() -> bool:
    """Whether our class's module is there, without importing it."""
    try:
        found = importlib.util.find_spec(OURS.rpartition('.')[0])
    except (ImportError, ValueError):
        found = None
    if found is None:
        LOG.error("os-brick-healer is not installed properly: os-brick's own "
                  'connector is used')
    return found is not None


class _Waiter(importlib.abc.MetaPathFinder):
    """Registers our class right after os-brick's factory is imported."""

    def find_spec(self, fullname: str, path: Sequence[str] | None,
                  target: types.ModuleType | None = None,
                  ) -> importlib.machinery.ModuleSpec | None:
        if fullname != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(
            fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """The module's own loader, and then :func:`register`."""

    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec,
                      ) -> types.ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        # From here on the module has its own loader, as if we were not here.
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._real
        self._real.exec_module(module)
        register()
