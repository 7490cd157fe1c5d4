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
"""Laws of the numbers: what is written is what Prometheus reads."""

import os
import pathlib
import re
import threading

import hypothesis
from hypothesis import strategies

from os_brick_healer import exception
from os_brick_healer.metrics import catalogue, counters, textfile
from os_brick_healer.tests import base


class RenderTest(base.TestCase):
    def test_the_text_is_what_prometheus_documents(self) -> None:
        actions = counters.Counter('x_actions_total', 'Actions\ntaken.',
                                   ('kind', 'result'))
        actions.add('ReAdd', 'ok')
        actions.add('ReAdd', 'ok', amount=2.5)
        actions.add('AddSpare', 'failed')
        age = counters.Gauge('x_age_seconds', 'Age.')
        age.set(3.0)
        silent = counters.Gauge('x_silent', 'Nothing is known.')
        self.assertEqual(
            '# HELP x_actions_total Actions\\ntaken.\n'
            '# TYPE x_actions_total counter\n'
            'x_actions_total{kind="AddSpare",result="failed"} 1\n'
            'x_actions_total{kind="ReAdd",result="ok"} 3.5\n'
            '# HELP x_age_seconds Age.\n'
            '# TYPE x_age_seconds gauge\n'
            'x_age_seconds 3\n',
            counters.render((actions, age, silent)))

    def test_numbers_without_digits_have_their_spelling(self) -> None:
        gauge = counters.Gauge('x', 'X.', ('n',))
        for value in ('inf', '-inf', 'nan'):
            gauge.set(float(value), value)
        text = counters.render((gauge,))
        for spelling in ('x{n="inf"} +Inf', 'x{n="-inf"} -Inf',
                         'x{n="nan"} NaN'):
            self.assertIn(spelling, text)

    @hypothesis.given(strategies.text())
    def test_any_label_stays_on_its_line(self, label: str) -> None:
        gauge = counters.Gauge('x', 'X.', ('name',))
        gauge.set(1.0, label)
        line = counters.render((gauge,)).split('\n')[2]
        self.assertTrue(line.startswith('x{name="'))
        self.assertTrue(line.endswith('"} 1'))
        inner = line[len('x{name="'):-len('"} 1')]
        unescaped = (inner.replace('\\\\', '\0').replace('\\n', '\n')
                     .replace('\\"', '"').replace('\0', '\\'))
        if '\0' not in label:
            self.assertEqual(label, unescaped)


class CountTest(base.TestCase):
    def test_threads_lose_no_count(self) -> None:
        counter = counters.Counter('x', 'X.')

        def count() -> None:
            for _ in range(2000):
                counter.add()

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({(): 8000.0}, counter.values())

    def test_a_counter_never_shrinks(self) -> None:
        counter = counters.Counter('x', 'X.')
        self.assertRaises(ValueError, counter.add, amount=-1.0)

    def test_the_number_of_series_is_bounded(self) -> None:
        counter = counters.Counter('x', 'X.', ('name',))
        for number in range(counters.SERIES_MAX + 10):
            counter.add(str(number))
        values = counter.values()
        self.assertEqual(counters.SERIES_MAX + 1, len(values))
        self.assertEqual(10.0, values[(counters.OTHER,)])

    def test_labels_must_fit(self) -> None:
        gauge = counters.Gauge('x', 'X.', ('a', 'b'))
        self.assertRaises(ValueError, gauge.set, 1.0, 'only one')


class CatalogueTest(base.TestCase):
    def test_names_are_unique_ours_and_well_formed(self) -> None:
        names = [m.name for m in catalogue.ALL]
        self.assertEqual(len(names), len(set(names)))
        for metric in catalogue.ALL:
            self.assertRegex(metric.name, r'^os_brick_healer_[a-z_]+$')
            self.assertEqual(metric.kind == 'counter',
                             metric.name.endswith('_total'))

    def test_the_docs_name_every_number_and_no_other(self) -> None:
        page = (pathlib.Path(__file__).parents[4] / 'doc' / 'source' / 'cli'
                / 'metrics.rst')
        if not page.exists():
            self.skipTest('not run from a source tree')
        told = set(re.findall(r'``(os_brick_healer_[a-z_]+)(\{[a-z,]+\})?``',
                              page.read_text()))
        known = {(m.name, '{' + ','.join(m.labels) + '}' if m.labels else '')
                 for m in catalogue.ALL}
        self.assertEqual(known, told)

    def test_counting_by_name_takes_the_labels_in_any_order(self) -> None:
        before = catalogue.ACTIONS.values().get(('ReAdd', 'ok'), 0.0)
        catalogue.count('actions_total', result='ok', kind='ReAdd')
        self.assertEqual(before + 1,
                         catalogue.ACTIONS.values()[('ReAdd', 'ok')])

    def test_a_status_becomes_gauges(self) -> None:
        catalogue.from_status({
            'agent': {'paused': 'x', 'provisioner': {
                'error': None, 'age_s': 4.0}},
            'volumes': [{'kind': 'replica', 'phase': 'healthy'},
                        {'kind': 'mapping', 'phase': 'stalled'},
                        {'kind': 'replica', 'phase': 'healthy'}]})
        text = catalogue.text()
        for line in ('os_brick_healer_volumes'
                     '{kind="replica",phase="healthy"} 2',
                     'os_brick_healer_stalled_volumes 1',
                     'os_brick_healer_paused 1',
                     'os_brick_healer_provisioner_up 1',
                     'os_brick_healer_provisioner_age_seconds 4'):
            self.assertIn(f'{line}\n', text)

    def test_a_provisioner_not_asked_yet_is_neither_up_nor_down(self) -> None:
        catalogue.from_status({'agent': {'provisioner': {
            'error': None, 'age_s': None}}, 'volumes': []})
        text = catalogue.text()
        self.assertNotIn('provisioner_up', text)
        self.assertNotIn('provisioner_age_seconds', text)
        self.assertNotIn('os_brick_healer_volumes{', text)


    def test_a_source_that_is_down_is_0_and_keeps_its_age(self) -> None:
        catalogue.from_status({'agent': {'sources': {
            'cinder': {'error': 'no', 'age_s': 700.0, 'elsewhere': 3},
            'kubernetes': {'error': None, 'age_s': 4.0},
            'new': {'error': 'no', 'age_s': None}}}, 'volumes': []})
        self.assertEqual({('cinder',): 0.0, ('kubernetes',): 1.0,
                          ('new',): 0.0}, catalogue.SOURCE_UP.values())
        self.assertEqual({('cinder',): 700.0, ('kubernetes',): 4.0},
                         catalogue.SOURCE_AGE.values())
        self.assertEqual({('cinder',): 3.0, ('kubernetes',): 0.0},
                         catalogue.SOURCE_ELSEWHERE.values())
        catalogue.from_status({'agent': {}, 'volumes': []})
        self.assertNotIn('attachment_source', catalogue.text())


class TextfileTest(base.TestCase):
    def test_a_reader_never_sees_half_a_file(self) -> None:
        path = self.temp_dir() / 'x.prom'
        textfile.write(str(path), 'a' * 100000)
        done = threading.Event()
        lengths = set()

        def read() -> None:
            while not done.is_set():
                lengths.add(len(path.read_text()))

        reader = threading.Thread(target=read)
        reader.start()
        for _ in range(50):
            textfile.write(str(path), 'b' * 200000)
        done.set()
        reader.join()
        self.assertLessEqual(lengths, {100000, 200000})
        self.assertEqual(['x.prom'], os.listdir(path.parent))
        self.assertEqual(0o644, path.stat().st_mode & 0o777)

    def test_what_cannot_be_written_is_said_and_left_tidy(self) -> None:
        place = self.temp_dir()
        (place / 'x.prom').mkdir()
        for path in (place / 'x.prom', pathlib.Path('/nonexistent/x.prom')):
            error = self.assertRaises(exception.HealerError, textfile.write,
                                      str(path), 'text')
            self.assertIn('metrics_textfile', str(error))
        self.assertEqual(['x.prom'], os.listdir(place))
