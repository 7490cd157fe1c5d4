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
"""Every number that this software publishes. A test holds the docs to it."""

from collections.abc import Mapping
from typing import Any

from os_brick_healer.metrics import counters

PREFIX = 'os_brick_healer'

VOLUMES = counters.Gauge(
    f'{PREFIX}_volumes', 'Volumes of this host by kind and phase.',
    ('kind', 'phase'))
ACTIONS = counters.Counter(
    f'{PREFIX}_actions_total',
    'Actions taken, by kind and result (ok, failed).',
    ('kind', 'result'))
STALL_SECONDS = counters.Counter(
    f'{PREFIX}_stall_seconds_total',
    "Seconds in which a volume's I/O waited, over all volumes; sampled every "
    'metrics_interval.')
STALLED = counters.Gauge(
    f'{PREFIX}_stalled_volumes', 'Volumes whose I/O waits now.')
PROVISIONER_UP = counters.Gauge(
    f'{PREFIX}_provisioner_up',
    'Whether the last question to the provisioner was answered (1 or 0).')
PROVISIONER_AGE = counters.Gauge(
    f'{PREFIX}_provisioner_age_seconds',
    "Seconds since the provisioner's last good answer.")
SOURCE_UP = counters.Gauge(
    f'{PREFIX}_attachment_source_up',
    'Whether the last question to a source of attachments was answered (1 or '
    '0).', ('source',))
SOURCE_AGE = counters.Gauge(
    f'{PREFIX}_attachment_source_age_seconds',
    "Seconds since a source of attachments' last good answer.", ('source',))
SOURCE_ELSEWHERE = counters.Gauge(
    f'{PREFIX}_attachment_source_elsewhere',
    'Mapped volumes that a source has attached to another host, and not to '
    'this one: a process of theirs that dies is not replaced.', ('source',))
LOOP_LAG = counters.Gauge(
    f'{PREFIX}_loop_lag_seconds',
    'Seconds since the loop last turned.')
LOOK_ERRORS = counters.Counter(
    f'{PREFIX}_look_errors_total',
    'Looks at a thing that raised: a defect, the thing rests a while.',
    ('kind',))
TASK_ERRORS = counters.Counter(
    f'{PREFIX}_task_errors_total',
    'Periodic tasks that raised: a defect.', ('task',))
JOURNAL_ERRORS = counters.Counter(
    f'{PREFIX}_journal_errors_total',
    'Writes of the journal that failed.')
PAUSED = counters.Gauge(
    f'{PREFIX}_paused', 'Whether healing is paused (1 or 0).')
START_FAILURES = counters.Counter(
    f'{PREFIX}_agent_start_failures_total',
    'Attempts of a connector to start the agent that failed.')
RELOAD_FAILURES = counters.Counter(
    f'{PREFIX}_reload_failures_total',
    'Configurations that were refused at a reload.')
LACKS = counters.Gauge(
    f'{PREFIX}_lacks',
    'What this host lacks for healing, each 1 (helper, commands, lock_path).',
    ('what',))
INFO = counters.Gauge(
    f'{PREFIX}_info', 'Always 1; the labels tell.', ('version', 'launch'))

ALL: tuple[counters.Metric, ...] = (
    INFO, VOLUMES, ACTIONS, STALL_SECONDS, STALLED, PROVISIONER_UP,
    PROVISIONER_AGE, SOURCE_UP, SOURCE_AGE, SOURCE_ELSEWHERE, LOOP_LAG,
    LOOK_ERRORS, TASK_ERRORS, JOURNAL_ERRORS, PAUSED, LACKS, START_FAILURES,
    RELOAD_FAILURES)


_COUNTERS = {m.name: m for m in ALL if isinstance(m, counters.Counter)}


def count(name: str, amount: float = 1.0, **labels: str) -> None:
    """Count by name: the engine knows no metrics, only this function.

    :param name: of a counter above, without the prefix.
    :raises KeyError: there is no such counter, or a label is missing.
    """
    counter = _COUNTERS[f'{PREFIX}_{name}']
    counter.add(*(labels[n] for n in counter.labels), amount=amount)


def from_status(status: Mapping[str, Any], elapsed_s: float = 0.0) -> None:
    """Take the gauges from a status as the control socket serves it.

    :param elapsed_s: since the last call: a volume that is stalled now is
        counted as stalled for all of it.
    """
    agent = status.get('agent') or {}
    phases: dict[counters.LabelValues, float] = {}
    for volume in status.get('volumes') or ():
        slot = (str(volume.get('kind')), str(volume.get('phase')))
        phases[slot] = phases.get(slot, 0.0) + 1.0
    VOLUMES.replace(phases)
    stalled = sum((count for (_, phase), count in phases.items()
                   if phase == 'stalled'), 0.0)
    STALLED.set(stalled)
    STALL_SECONDS.add(amount=stalled * max(0.0, elapsed_s))
    PAUSED.set(1.0 if agent.get('paused') is not None else 0.0)
    LACKS.replace({(str(what),): 1.0 for what in agent.get('lacks') or ()})
    _provisioner(agent.get('provisioner') or {})
    _sources(agent.get('sources') or {})


def _provisioner(provisioner: Mapping[str, Any]) -> None:
    age_s = provisioner.get('age_s')
    if age_s is None:
        PROVISIONER_AGE.clear()
    else:
        PROVISIONER_AGE.set(float(age_s))
    if age_s is None and provisioner.get('error') is None:
        PROVISIONER_UP.clear()      # not asked yet: neither up nor down
    else:
        PROVISIONER_UP.set(1.0 if provisioner.get('error') is None else 0.0)


def _sources(sources: Mapping[str, Mapping[str, Any]]) -> None:
    """One that was not asked yet is not among them."""
    SOURCE_UP.replace({(str(name),): 1.0 if one.get('error') is None else 0.0
                       for name, one in sources.items()})
    SOURCE_AGE.replace({(str(name),): float(one['age_s'])
                        for name, one in sources.items()
                        if one.get('age_s') is not None})
    SOURCE_ELSEWHERE.replace({
        (str(name),): float(one.get('elsewhere') or 0)
        for name, one in sources.items() if one.get('age_s') is not None})


def text() -> str:
    """Everything, for the collector."""
    return counters.render(ALL)
