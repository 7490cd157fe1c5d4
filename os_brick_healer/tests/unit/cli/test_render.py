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
"""Laws of what an operator reads."""

from typing import Any

import hypothesis
from hypothesis import strategies

from os_brick_healer.cli import offline, render
from os_brick_healer.tests import base
from os_brick_healer.tests.unit.agent import fakes


def told(*volumes: dict[str, Any], **agent: Any) -> dict[str, Any]:
    return {'agent': {
        'pid': 12, 'version': '1.0', 'launch': 'systemd',
        'started_wall': 1000.0, 'paused': None, 'journal_error': None,
        'provisioner': {'name': 'local', 'sentence': 'a file',
                        'error': None, 'age_s': 2.0}, **agent},
        'volumes': list(volumes)}


def healing() -> dict[str, Any]:
    legs = [{'replica': 'rep-1', 'device': 'nvme0n1', 'state': 'in_sync',
             'provisioner_state': 'available', 'lost_for_s': None,
             'note': None, 'portals': [
                 {'portal': 'tcp://10.0.0.1:4420', 'controller': 'nvme0',
                  'state': 'live'}]},
            {'replica': 'rep-3', 'device': 'nvme2n1', 'state': 'filling',
             'provisioner_state': 'synchronizing', 'lost_for_s': None,
             'note': 'was refused once', 'portals': [
                 {'portal': 'tcp://10.0.0.3:4420', 'controller': None,
                  'state': None}]}]
    return fakes.volume(
        7, phase='resyncing', since_s=130.0, legs=legs,
        sentence='leg nvme2n1 is being filled', action='wait',
        intent='abc123', sync={'action': 'recovery', 'percent': 40.0,
                               'speed_kib_s': 122880.0, 'eta_s': 75.0})


class StatusTest(base.TestCase):
    def show(self, status: dict[str, Any], **more: Any) -> str:
        return render.status(status, now_wall=4700.0, **more)

    def test_what_serves_a_mapped_volume_is_shown(self) -> None:
        mapped = {**healing(), 'legs': [], 'sync': None, 'array': None,
                  'device': 'nbd3', 'mounter': 'nbd', 'waiting': 2}
        for server, shown in (
                (None, 'nbd3    resyncing  2m10s  nbd: no process\n'),
                ({'pid': 7}, 'nbd: process 7\n'),
                ({'pid': 7, 'stopped': True}, 'nbd: process 7, stopped\n')):
            text = self.show(told({**mapped, 'server': server}))
            self.assertIn(shown, text)
            self.assertIn('    2 requests wait', text)
        self.assertIn('2m10s  -\n', self.show(told(
            {**mapped, 'mounter': None, 'server': None})))

    def test_a_heal_is_shown_whole(self) -> None:
        key = healing()['key']
        self.assertEqual(
            'agent        process 12, version 1.0, launched as systemd, up '
            '1h01m\n'
            'provisioner  local, a file, answered 2s ago\n'
            '\n'
            'VOLUME                                ALIAS  DEVICE  PHASE'
            '      SINCE  SERVED BY\n'
            f'{key}  vol-7  md7     resyncing  2m10s  1 of 2 legs in sync\n'
            '    why  leg nvme2n1 is being filled\n'
            '    now  wait [abc123]\n'
            '    recovery [##########...............]  40.0 %  120.0 MiB/s  '
            '1m15s left\n'
            '    REPLICA  DEVICE   LEG      PROVISIONER    PATHS\n'
            '    rep-1    nvme0n1  in_sync  available      '
            'tcp://10.0.0.1:4420 nvme0 live\n'
            '    rep-3    nvme2n1  filling  synchronizing  '
            'tcp://10.0.0.3:4420 not connected  was refused once',
            self.show(told(healing())))

    def test_who_is_in_need_comes_first(self) -> None:
        text = self.show(told(
            fakes.volume(1), fakes.volume(3, phase='stalled'),
            fakes.volume(2, phase='degraded')))
        places = [text.index(f'vol-{n}') for n in (3, 2, 1)]
        self.assertEqual(sorted(places), places)

    def test_of_many_only_those_in_need_are_shown_in_detail(self) -> None:
        many = [fakes.volume(i) for i in range(100)]
        text = self.show(told(*many, healing()))
        self.assertEqual(1, text.count('REPLICA'))
        self.assertEqual(101, self.show(
            told(*many, healing()), verbose=True).count('REPLICA'))

    def test_up_to_sixteen_volumes_are_shown_in_detail(self) -> None:
        for number, detailed in ((16, 16), (17, 0)):
            self.assertEqual(detailed, self.show(told(*(
                fakes.volume(i) for i in range(number)))).count('REPLICA'))

    def test_a_key_of_up_to_44_letters_is_shown_whole(self) -> None:
        for key, shown in (('k' * 44, 'k' * 44),
                           ('k' * 45, 'k' * 41 + '...')):
            self.assertIn(f'\n{shown}  vol-1 ', self.show(told(
                fakes.volume(1, key=key))))

    def test_legs_that_are_all_in_sync_are_counted_as_such(self) -> None:
        volume = healing()
        for leg in volume['legs']:
            leg['state'] = 'in_sync'
        self.assertIn('2 of 2 legs in sync', self.show(told(volume)))

    def test_trouble_of_the_agent_is_said(self) -> None:
        text = self.show(told(
            paused='maintenance', journal_error='disk full',
            provisioner={'name': 'kumoscale', 'error': 'no answer'}))
        for said in ('PAUSED       maintenance', 'JOURNAL      disk full',
                     'ERROR: no answer', 'No volume that could be'):
            self.assertIn(said, text)

    def test_a_question_without_an_answer_is_told_of(self) -> None:
        def line(**about: Any) -> str:
            return self.show(told(provisioner={
                'name': 'local', **about})).splitlines()[1]

        self.assertEqual('provisioner  local, asked 12s ago, no answer yet',
                         line(sentence='', waiting_s=12.7, age_s=None))
        self.assertEqual(
            'provisioner  local, a file, answered 1m05s ago, asked 1s ago, '
            'no answer yet', line(sentence='a file', waiting_s=1.0,
                                  age_s=65.0))
        self.assertEqual('provisioner  local, answered 2s ago',
                         line(waiting_s=0.2, age_s=2.0))

    def test_sources_of_attachments_are_told_with_what_they_lack(
            self) -> None:
        shown = self.show(told(sources={
            'cinder': {'age_s': 3.0, 'attachments': 12, 'error': None,
                       'lacking': {'v1': 'somebody else\nhas mapped it'}},
            'kubernetes': {'age_s': None, 'attachments': 0,
                           'error': 'cannot', 'lacking': {}}}))
        for line in ('attachments  cinder, 12 attachments, answered 3s ago',
                     'NOT HEALED   v1: somebody else\\nhas mapped it',
                     'attachments  kubernetes, ERROR: cannot'):
            self.assertIn(line + '\n', shown)
        doubted = self.show(told({**healing(), 'doubt': 'x says y'}))
        self.assertIn('    but  x says y\n', doubted)
        self.assertIn('    but  it lacks y\n', self.show(
            told({**healing(), 'lacks': 'it lacks y'})))

    def test_a_source_that_is_down_says_for_how_long(self) -> None:
        shown = self.show(told(sources={'cinder': {
            'age_s': 900.0, 'attachments': 3, 'error': 'cannot ask',
            'down_s': 290.0, 'lacking': {}}}))
        self.assertIn('attachments  cinder, 3 attachments, answered 15m00s '
                      'ago, DOWN for 4m50s: cannot ask\n', shown)

    def test_a_volume_whose_heal_is_seen_says_so(self) -> None:
        self.assertIn('not transparent: a heal loses what is open there',
                      self.show(told({**healing(), 'transparent': False})))
        for quiet in (True, None):
            self.assertNotIn('transparent', self.show(
                told({**healing(), 'transparent': quiet})))

    def test_unknown_is_said_and_not_guessed(self) -> None:
        self.assertEqual('resync: progress unknown', render.progress(
            {'action': 'resync', 'percent': None}))
        self.assertEqual('unknown', render.duration(None))
        self.assertIn('unknown', self.show({'volumes': [{}]}))

    def test_a_long_sentence_is_wrapped(self) -> None:
        volume = fakes.volume(1, sentence='word ' * 60)
        for line in render.details(volume, width=60)[:5]:
            self.assertLessEqual(len(line), 60)

    def test_a_line_is_as_long_as_the_terminal_is_wide(self) -> None:
        # Of two parities: one of them fills every width to its end.
        said = ['a ' * 90, 'aa ' + 'a ' * 90]

        def longest(*args: int) -> int:
            return max(len(line) for one in said for line in render.details(
                {'sentence': one}, *args))

        self.assertEqual([100, 60, 40, 40, 41], [
            longest(), *(longest(width) for width in (60, 40, 3, 41))])
        volumes = [fakes.volume(1, sentence=one, legs=[]) for one in said]
        self.assertEqual([100, 100], [
            max(len(line) for line in text.split('\n') if ' a a ' in line)
            for text in (self.show(told(*volumes)), '\n'.join(
                render.explain({'volume': volume}, when=str)
                for volume in volumes))])

    def test_a_wrapped_sentence_stays_behind_its_label(self) -> None:
        first, *rest = render.details({'sentence': 'word ' * 60}, 60)
        self.assertTrue(first.startswith('    why  word'), first)
        self.assertTrue(rest)
        for line in rest:
            self.assertTrue(line.startswith(' ' * 9 + 'word'), repr(line))

    def test_a_name_is_never_broken(self) -> None:
        for name in ('n' * 80, 'csi-volume-of-the-third-replica-set'):
            said = f'{"word " * 6}{name} is away'
            self.assertIn(name, '\n'.join(render.details(
                {'sentence': said}, 50)))

    @hypothesis.given(strategies.text(), strategies.text())
    def test_nothing_from_outside_moves_the_cursor(self, one: str,
                                                   two: str) -> None:
        volume = fakes.volume(1, sentence=one, alias=two, array=one,
                              key=two, phase=one, law=two, action=one,
                              intent=two, extra=one)
        volume['legs'] = [{'replica': one, 'device': two, 'state': one,
                           'note': two, 'provisioner_state': one,
                           'portals': [{'portal': two, 'controller': one,
                                        'state': two}]}]
        status = told(volume, paused=one, version=two, provisioner={
            'name': one, 'sentence': two, 'error': one, 'age_s': None})
        rows = [{'wall_s': 1.0, 'what': one, 'text': two, 'key': one,
                 'intent_id': two, 'ok': False}]
        for text in (self.show(status), render.explain(
                {'volume': volume, 'history': rows}, when=str)):
            for line in text.split('\n'):
                self.assertTrue(line.isprintable(), repr(line))


class BarTest(base.TestCase):
    @hypothesis.given(strategies.floats(allow_nan=False))
    def test_it_is_full_only_when_all_is_done(self, percent: float) -> None:
        text = render.bar(percent)
        self.assertEqual(render.BAR_WIDTH + 2, len(text))
        self.assertEqual(percent >= 100.0, '.' not in text)

    def test_of_any_width_it_is_as_full_as_it_says(self) -> None:
        for percent, filled in ((-5.0, 0), (0.0, 0), (0.2, 2), (50.0, 500),
                                (99.9, 999), (100.0, 1000), (200.0, 1000)):
            self.assertEqual('[' + '#' * filled + '.' * (1000 - filled) + ']',
                             render.bar(percent, 1000))
        self.assertIn('.', render.bar(99.9))

    def test_durations_have_two_units(self) -> None:
        for seconds, text in ((0, '0s'), (59.9, '59s'), (60, '1m00s'),
                              (3599, '59m59s'), (3600, '1h00m'),
                              (7500, '2h05m'), (82800, '23h00m'),
                              (86399, '23h59m'), (86400, '1d00h'),
                              (90000, '1d01h'), (259200, '3d00h'),
                              (345599, '3d23h'), (-3, '0s')):
            self.assertEqual(text, render.duration(seconds))


class PartsTest(base.TestCase):
    def test_a_copy_is_told_as_far_as_it_is_known(self) -> None:
        def line(**sync: Any) -> str:
            text = render.status(
                told({**healing(), 'sync': {'action': 'recovery', **sync}}),
                now_wall=4700.0)
            return next(x.strip() for x in text.split('\n')
                        if 'recovery' in x)

        self.assertEqual('recovery: progress unknown', line(percent=None))
        half = f'recovery {render.bar(50.0)}  50.0 %'
        self.assertEqual(half, line(percent=50.0))
        self.assertEqual(f'{half}  2.0 MiB/s',
                         line(percent=50.0, speed_kib_s=2048))
        self.assertEqual(f'{half}  1m05s left',
                         line(percent=50.0, eta_s=65.0))

    def test_a_lost_leg_is_told_with_its_time(self) -> None:
        volume = healing()
        volume['legs'][0]['lost_for_s'] = 61.0
        self.assertIn('lost for 1m01s', render.status(
            told(volume), now_wall=4700.0))

    def test_a_line_of_history_may_name_its_volume(self) -> None:
        row = {'wall_s': 1.0, 'what': 'result', 'text': 'done', 'key': 'v-1',
               'intent_id': 'abc', 'ok': True}
        for ok, mark in ((True, ' ok'), (False, ' FAILED'), (None, '')):
            one = {**row, 'ok': ok}
            self.assertEqual(
                f'1.0  {("result" + mark).ljust(13)}  abc           done',
                render.history([one], when=str, with_key=False))
        self.assertEqual('1.0  result ok      abc           v-1  done',
                         render.history([row], when=str))


    def test_a_line_without_a_time_is_of_the_beginning(self) -> None:
        self.assertTrue(render.history(
            [{'what': 'start', 'text': 'x'}], when=str).startswith('0.0  '))


class ExplainTest(base.TestCase):
    row = {'wall_s': 1.0, 'what': 'note', 'text': 'done', 'key': 'v-1'}

    def explained(self, **volume: Any) -> list[str]:
        return render.explain(
            {'volume': {**healing(), **volume}, 'history': [self.row]},
            when=str).split('\n')

    def test_a_volume_is_told_with_its_law_and_its_history(self) -> None:
        key = healing()['key']
        lines = self.explained(law='hold without a leg in sync')
        self.assertEqual([
            f'volume  {key}', 'alias   vol-7', 'device  md7',
            'phase   resyncing for 2m10s',
            'law     hold without a leg in sync', '',
            '    why  leg nvme2n1 is being filled'], lines[:7])
        self.assertEqual(['', 'history (newest last)',
                          '1.0  note           -             done'],
                         lines[-3:])

    def test_what_a_volume_has_not_is_told_as_that(self) -> None:
        lines = self.explained(law=None, alias=None, array=None, device=None)
        self.assertEqual(['alias   -', 'device  none on this host',
                          'phase   resyncing for 2m10s', ''], lines[1:5])


class NothingTest(base.TestCase):
    def test_what_is_not_known_takes_no_line(self) -> None:
        volume = {**fakes.volume(1), 'array_uuid': None, 'attached': 'nova'}
        text = render.explain({'volume': volume}, when=str)
        self.assertNotIn('array_uuid', text)
        self.assertIn('attached: nova', text)

    def test_a_table_of_nothing_is_no_table(self) -> None:
        text = offline.text(offline.Found(), 'it is away', when=str)
        self.assertNotIn('ALIAS', text)
        self.assertIn('No volume is known to be attached.', text)


class ExitCodeTest(base.TestCase):
    def code(self, *phases: str, **agent: Any) -> int:
        return render.exit_code(told(
            *(fakes.volume(i, phase=p) for i, p in enumerate(phases)),
            **agent))

    def test_the_worst_volume_decides(self) -> None:
        self.assertEqual(0, self.code())
        self.assertEqual(0, self.code('healthy', 'gone'))
        for phase in ('degraded', 'healing', 'resyncing'):
            self.assertEqual(1, self.code('healthy', phase))
        for phase in ('held', 'stalled', 'broken'):
            self.assertEqual(2, self.code('healthy', 'degraded', phase))

    def test_a_source_in_trouble_or_with_more_is_not_healthy(self) -> None:
        for code, one in ((0, {}), (1, {'error': 'x'}),
                          (1, {'lacking': {'v': 'y'}})):
            self.assertEqual(code, self.code('healthy', sources={
                'cinder': one}))

    def test_a_host_that_cannot_heal_is_not_healthy(self) -> None:
        self.assertEqual(1, self.code('healthy', paused='x'))
        self.assertEqual(1, self.code('healthy', provisioner={'error': 'x'}))
        self.assertEqual(2, self.code('healthy', journal_error='x'))
