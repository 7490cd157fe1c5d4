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
"""Puts the rooms together into one agent."""

from collections.abc import Callable
import functools
import os
import socket
import time

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer.conf import opts, state
from os_brick_healer.conf import policy as policy_lib
from os_brick_healer.engine import journal as journal_lib
from os_brick_healer.engine import loop, threads, wake
from os_brick_healer.mapping import bounds
from os_brick_healer.mapping import build as mapping_build
from os_brick_healer.mapping import wing as mapping_lib
from os_brick_healer.metrics import catalogue
from os_brick_healer.provisioner import base, loader
from os_brick_healer.replica import act, laws, locks, observe, probe
from os_brick_healer.replica import pulse as pulse_lib
from os_brick_healer.replica import truth as truth_lib
from os_brick_healer.replica import wing as wing_lib
from os_brick_healer.sysfs import parse, reader

LOG = logging.getLogger(__name__)

JOURNAL = state.JOURNAL
#: Threads that give up legs, and that talk to the provisioner.
FLOW_THREADS = 8
NETWORK_THREADS = 8


def clock() -> float:
    """Seconds since boot, suspended time included: what decides."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def root_uuid(tree: reader.Tree) -> str | None:
    """The UUID of the root file system, as os-brick reports the host's.

    os-brick asks findmnt and blkid as root; udev's database tells the same
    to anybody. None on an overlay root, like os-brick, and where udev never
    saw the device.
    """
    number = _root_device(tree)
    if number is None:
        return None
    text = tree.read(f'run/udev/data/b{number}', parse.TEXT_MAX) or ''
    return parse.udev_properties(text).get('ID_FS_UUID')


def _root_device(tree: reader.Tree) -> str | None:
    """MAJOR:MINOR of the block device that the root file system is on.

    A file system with volumes of its own (btrfs) has a number that is no
    device's, and major 0: its source is looked up by name.
    """
    mounts = tree.read('proc/self/mountinfo', parse.TEXT_MAX) or ''
    for line in reversed(mounts.split('\n')):     # the topmost counts
        words, _, about = line.partition(' - ')
        found = words.split(' ')
        if len(found) < 5 or found[4] != '/':
            continue
        if not found[2].startswith('0:'):
            return found[2]
        source = [*about.split(' '), '', ''][1]
        if not source.startswith('/dev/'):
            return None
        name = os.path.basename(tree.readlink(source) or source)
        return tree.read(f'sys/class/block/{name}/dev')
    return None


def identify(conf: cfg.ConfigOpts, tree: reader.Tree) -> base.HostIdentity:
    """Who this host is to the provisioner."""
    return loader.host_identity(conf, uuid=lambda: root_uuid(tree))


def build(conf: cfg.ConfigOpts, *, run_mode: str,
          journal: journal_lib.Journal | None = None,
          tree: reader.Tree | None = None,
          waker: wake.Waker | None = None,
          plugin: Callable[[], base.Provisioner] | None = None,
          ) -> loop.Engine:
    """An engine that heals the volumes of this host.

    :param run_mode: how the agent runs, for status.
    :param journal: an open one. Default: that of the configuration.
    :param tree: another host's files (a benchmark's), with its events.
    :param plugin: makes the provisioner. Default: the configured one.
    :raises HealerError: it cannot: the journal, or a setting.
    """
    tree = tree or reader.Tree()
    profile = policy_lib.profile(conf)
    policy = policy_lib.policy(conf)
    # Another one takes effect at the next start, as a reload says.
    chosen: str = conf[opts.GROUP].provisioner
    if journal is None:
        journal = state.open_journal(conf)
    waker = waker or wake.Waker()
    for problem in waker.problems:
        LOG.warning('%s: changes are noticed by polling only', problem)
    truth = truth_lib.Truth(
        plugin or (lambda: loader.load(conf, identify(conf, tree),
                                       name=chosen)), clock)
    pulse = pulse_lib.Pulse(tree, stuck_s=profile.stuck_s)
    prober = probe.TcpProber(
        deadline_s=profile.probe_deadline_s,
        wake=lambda portal: wing.probed(portal))  # noqa: PLW0108
    hands = act.Hands(
        settings=functools.partial(act.Settings.read, conf),
        provisioner=lambda: truth.provisioner,
        host_nqn=lambda: identify(conf, tree).nqn, permits=laws.permits,
        locks=locks.OsBrickLocks(conf),
        ours=lambda: wing.controllers())  # noqa: PLW0108
    wing = wing_lib.ReplicaWing(
        policy=policy, host=_host_name(conf), truth=truth,
        observer=observe.Observer(tree, clock, pulse), pulse=pulse,
        prober=prober, hands=hands, journal=journal, clock=clock,
        process_start=journal_lib.process_start)
    mapped = mapping_build.build(conf, tree=tree, journal=journal,
                                 listener=waker, clock=clock)
    engine = loop.Engine(
        (wing, mapped), journal=journal, waits=waker, clock=clock,
        paused=conf[opts.GROUP].paused,
        runs=threads.Threads(waker.post, {
            'flow': FLOW_THREADS, 'network': NETWORK_THREADS,
            'kernel': policy.heals_max, 'ask': 1,
            **mapping_build.lanes(conf)}),
        count=catalogue.count)
    engine.reload_hooks.append(functools.partial(_reload, conf, wing, truth))
    engine.reload_hooks.append(
        functools.partial(_reload_mapping, conf, mapped))
    LOG.info('the agent runs (%s, profile %s)', run_mode,
             conf[opts.GROUP].profile)
    return engine


def _reload(conf: cfg.ConfigOpts, wing: wing_lib.ReplicaWing,
            truth: truth_lib.Truth) -> None:
    wing.policy = policy_lib.policy(conf)
    truth.close()


def _reload_mapping(conf: cfg.ConfigOpts,
                    wing: mapping_lib.MappingWing) -> None:
    wing.policy = bounds.policy(conf)
    if wing.sources is not None:
        wing.sources.reload()


def _host_name(conf: cfg.ConfigOpts) -> str:
    try:
        return str(conf.host) or socket.gethostname()
    except cfg.NoSuchOptError:
        return socket.gethostname()
