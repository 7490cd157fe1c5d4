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
"""The scenarios: a module per theme; load() registers them all."""

import importlib
import pkgutil

from bed.guest.scenario import REGISTRY, Scenario


def load() -> dict[str, Scenario]:
    """Every scenario by name, in the order of the modules' names.

    They import nothing but the standard library at their tops, so that the
    driver can list them on a machine without os-brick.
    """
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module(f'{__name__}.{module}')
    return REGISTRY
