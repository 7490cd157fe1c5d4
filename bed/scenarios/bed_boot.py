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
"""Boots and nothing more: how long a guest takes to be there."""

from bed.guest.scenario import Mode, scenario, Stage


@scenario(name='bed-boot-script', item='bed', timeout_s=30)
def boot_script(stage: Stage) -> None:
    """Our own init reaches the scenario."""
    stage.figure('boot_s', stage.now_s())


@scenario(name='bed-boot-systemd', item='bed', mode=Mode.SYSTEMD,
          timeout_s=30)
def boot_systemd(stage: Stage) -> None:
    """A full systemd reaches the scenario."""
    stage.figure('boot_s', stage.now_s())
