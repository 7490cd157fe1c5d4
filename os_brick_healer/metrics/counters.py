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
"""Counters and gauges, and the text form that Prometheus reads.

A handful of numbers does not need a client library with its registry and
its server: a metric here is a name, a help text and a dictionary.
"""

from collections.abc import Iterable, Mapping
import math
import threading
from typing import Literal

#: Values of the labels, in the order of the metric's label names.
LabelValues = tuple[str, ...]

#: A label from outside (a provisioner's name) must not fill the memory.
SERIES_MAX = 1000
OTHER = 'other'


class Metric:
    """Numbers under one name, one for each set of label values.

    Thread-safe. :param labels: names of the labels, in order.
    """

    kind: Literal['counter', 'gauge']

    def __init__(self, name: str, text: str,
                 labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self._lock = threading.Lock()
        self._values: dict[LabelValues, float] = {}

    def values(self) -> dict[LabelValues, float]:
        """A copy of what is known now."""
        with self._lock:
            return dict(self._values)

    def _slot(self, labels: LabelValues) -> LabelValues:
        if len(labels) != len(self.labels):
            raise ValueError(f'{self.name} has labels {self.labels}, '
                             f'not {labels}')
        if labels in self._values or len(self._values) < SERIES_MAX:
            return labels
        return (OTHER,) * len(labels)


class Counter(Metric):
    """A number that only grows."""

    kind = 'counter'

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Count. :param amount: not negative."""
        if amount < 0:
            raise ValueError(f'{self.name} cannot shrink by {amount}')
        with self._lock:
            slot = self._slot(labels)
            self._values[slot] = self._values.get(slot, 0.0) + amount


class Gauge(Metric):
    """A number that goes up and down."""

    kind = 'gauge'

    def set(self, value: float, *labels: str) -> None:
        """State the number for one set of labels."""
        with self._lock:
            self._values[self._slot(labels)] = value

    def replace(self, values: Mapping[LabelValues, float]) -> None:
        """State all numbers at once; what is not named is gone."""
        with self._lock:
            self._values = {}
            for labels, value in values.items():
                self._values[self._slot(labels)] = value

    def clear(self) -> None:
        """Nothing is known any more: no line is better than a stale one."""
        self.replace({})


def render(metrics: Iterable[Metric]) -> str:
    """The exposition in Prometheus' text format 0.0.4.

    https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    lines: list[str] = []
    for metric in metrics:
        values = metric.values()
        if not values:
            continue
        lines.append(f'# HELP {metric.name} {_help(metric.text)}')
        lines.append(f'# TYPE {metric.name} {metric.kind}')
        lines.extend(
            f'{metric.name}{_labels(metric.labels, labels)} '
            f'{_number(value)}'
            for labels, value in sorted(values.items()))
    return '\n'.join([*lines, ''])


def _labels(names: tuple[str, ...], values: LabelValues) -> str:
    if not names:
        return ''
    pairs = ','.join(f'{n}="{_escape(v)}"'
                     for n, v in zip(names, values, strict=True))
    return f'{{{pairs}}}'


def _escape(value: str) -> str:
    # Half of a surrogate pair cannot be written to any file.
    writable = value.encode('utf-8', 'backslashreplace').decode()
    return (writable.replace('\\', r'\\').replace('"', r'\"')
            .replace('\n', r'\n'))


def _help(text: str) -> str:
    return text.replace('\\', r'\\').replace('\n', r'\n')


def _number(value: float) -> str:
    if math.isnan(value):
        return 'NaN'
    if math.isinf(value):
        return '+Inf' if value > 0 else '-Inf'
    return str(int(value)) if value.is_integer() else repr(value)
