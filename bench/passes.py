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
"""What a pass over the provisioner costs: requests, and our CPU time."""

from collections.abc import Iterator
import pathlib
import statistics
import tempfile
import time

from bed.guest import provisioner as array
from bench.figures import Figure
from os_brick_healer.provisioner import kumoscale
from os_brick_healer.testing import conformance
from os_brick_healer.tests.unit.provisioner import worlds

SIZES = (10, 100, 1000)
PASSES = 7


def run() -> Iterator[Figure]:
    """A real KumoScale server over TLS, with storage that only remembers."""
    with tempfile.TemporaryDirectory() as directory:
        world = worlds.KumoScaleWorld(
            pathlib.Path(directory), array.Generation.TARGET_NAME)
        plugin = world.make_provisioner(conformance.HERE)
        try:
            plugin.probe()
            assert isinstance(plugin, kumoscale.KumoScaleProvisioner)
            yield from _sizes(world, plugin)
        finally:
            plugin.close()
            world.close()


def _sizes(world: worlds.KumoScaleWorld,
           plugin: kumoscale.KumoScaleProvisioner) -> Iterator[Figure]:
    there, first = 0, None
    for size in SIZES:
        while there < size:
            world.create_volume((conformance.HERE,))
            there += 1
        plugin.volumes()     # learns what this KumoScale can be asked
        before = plugin.requests
        cpu_s = []
        for _ in range(PASSES):
            began_s = time.thread_time()
            found = plugin.volumes()
            cpu_s.append(time.thread_time() - began_s)
            assert len(found) == size
        count = (plugin.requests - before) / PASSES
        first = count if first is None else first
        yield Figure(name=f'provisioner_requests_{size}', value=count,
                     unit='requests a pass', goal=first)
        yield Figure(name=f'provisioner_pass_{size}_cpu', unit='s',
                     value=statistics.median(cpu_s))
