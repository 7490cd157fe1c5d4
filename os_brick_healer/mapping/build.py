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
"""Puts this wing together from the configuration."""

from collections.abc import Callable

from oslo_config import cfg

from os_brick_healer.attachments import loader as attachments_loader
from os_brick_healer.conf import opts
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.mapping import (
    act,
    adopt,
    attachments,
    bounds,
    events,
    locks,
    logs,
    model,
    observe,
    sources,
    wing,
)
from os_brick_healer.mapping import pulse as pulse_lib
from os_brick_healer.mounter import loader
from os_brick_healer.provisioner import loader as provisioner_loader
from os_brick_healer.sysfs import reader

#: Reads that may hang, and questions to servers, at once.
PROOF_THREADS = 8
ASK_THREADS = 4
#: One that never answers must not keep the others waiting.
SOURCE_THREADS = 4


def lanes(conf: cfg.ConfigOpts) -> dict[str, int]:
    """Threads of each lane of this wing."""
    return {model.Lane.MAPPING.value: conf[opts.GROUP].mapping_heals_max,
            model.Lane.PROOF.value: PROOF_THREADS,
            wing.ASK_LANE: ASK_THREADS,
            sources.LANE: SOURCE_THREADS}


def build(conf: cfg.ConfigOpts, *, tree: reader.Tree,
          journal: journal_lib.Journal, listener: events.Listener,
          clock: Callable[[], float]) -> wing.MappingWing:
    """The wing of this host.

    :raises ConfigError: a setting cannot be used.
    """
    mounters = loader.Mounters()
    motion = observe.Motion(clock)
    rows = attachments.Attachments(journal, journal_lib.process_start,
                                   mounters.abilities)
    built: wing.MappingWing
    hands = act.Hands(
        tree=tree, mounter=mounters.get,
        locks=locks.VolumeLocks(conf[opts.GROUP].run_path),
        policy=lambda: built.policy)
    built = wing.MappingWing(
        policy=bounds.policy(conf), journal=journal, motion=motion,
        hands=hands,
        rows=rows, sources=sources.Sources(
            given(conf, tree=tree, journal=journal, clock=clock), rows,
            journal),
        logs=logs.Logs(act.tidy_logs, rows.keys,
                       lambda: bounds.logs(conf), wing.ASK_LANE),
        observer=observe.Observer(tree, clock, mounters.get,
                                  mounters.programs),
        pulse=pulse_lib.Pulse(tree, clock, motion),
        heard=events.Events(listener, clock), clock=clock,
        ask=lambda mapping, timeout_s: act.ask(
            mapping, mounters.get(mapping.mounter), timeout_s))
    return built


def given(conf: cfg.ConfigOpts, *, tree: reader.Tree,
          journal: journal_lib.Journal, clock: Callable[[], float],
          ) -> sources.Given:
    """What the sources of attachments of this host are asked with."""
    group = conf[opts.GROUP]
    host = provisioner_loader.host_name(conf)
    return sources.Given(
        host=host, tree=tree, clock=clock,
        names=tuple(group.attachment_sources),
        load=lambda name: attachments_loader.load(conf, host, name),
        adopter=adopt.adopter(conf, tree=tree, journal=journal),
        adopts=lambda: str(group.mapping_adopt),
        interval_s=lambda: float(group.attachment_interval))
