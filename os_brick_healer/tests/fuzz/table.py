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

"""The targets: the one list that tests and fuzzer share."""

from os_brick_healer.tests.fuzz import (
    kept,
    kernel,
    law,
    mapped,
    mounted,
    settings,
    sources,
    talking,
    tree,
    vendors,
)

_EVERY: tuple[type[law.Target], ...] = (
    *kernel.TARGETS, tree.Host, *vendors.TARGETS, *talking.TARGETS,
    *kept.TARGETS, *settings.TARGETS, *mapped.TARGETS, *mounted.TARGETS,
    *sources.TARGETS)

TARGETS = {target.name: target for target in _EVERY}
