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
"""Bugs to be seeded into the mapping wing; see ``simulation.catalogue``."""

from os_brick_healer.tests.simulation import defects

Bug = defects.Bug
_bug = defects.bug
_TOOLS = 'tests.simulation.mapping.tools:Tools'


BUGS = (
    # What is seen -----------
    _bug('status-from-the-list-of-processes', '17.stall', (
        'mapping.decide:_hangs', 'if seen.stuck_s < policy.hang_s or not '
        '_linked(seen, memory):', 'if True:'), (
        'mapping.decide:_cut_off',
        'if dead_s is None or dead_s <= since_s:', 'if True:'), (
        'mapping.decide:_unproven', 'if memory.proven_s is not None:',
        'if True:'), family='hangs'),
    _bug('hang-judged-by-one-look', '12.kill', (
        'mapping.decide:_hangs', 'if seen.stuck_s < policy.hang_s or not',
        'if not seen.waiting or not'), (
        'mapping.pulse:Pulse._weigh',
        'if self._clock() - moved_s >= hang_s:', 'if True:'),
        family='hangs'),
    _bug('slow-storage-is-taken-for-death', '12.kill', (
        'mapping.decide:_hangs', 'if answer.alive is False:', 'if True:'), (
        'mapping.laws:_serves', 'if seen.answer is None or '
        'seen.answer.alive is not False:', 'if False:'), family='hangs'),
    _bug('silence-is-taken-for-idleness', '17.stall', (
        'mapping.wing:MappingWing._sample', 'for key in silent:',
        'for key in ():'), family='hangs'),
    _bug('dropped-words-are-not-doubted', '17.stall', (
        'mapping.wing:MappingWing._doubt',
        'self._memories[key] = dataclasses.replace(',
        'dataclasses.replace('), family='hangs'),
    _bug('read-that-was-sent-counts-for-ever', '17.stall', (
        'nbd.reads:shared', 'if not last.sent or len(reads) >= READS_MAX:',
        'if True:'), family='unheard'),
    _bug('who-answers-is-not-read-from-again', '17.stall', (
        'mapping.decide:_hangs',
        '_prove(seen) if memory.proven_s is None else None', 'None'),
        family='unheard'),
    _bug('who-cannot-close-is-waited-for', '17.stall', (
        'mapping.decide:_no_server',
        'if seen.server is not None and seen.left is None:',
        'if seen.server is not None:'), family='held'),
    _bug('connection-of-the-dead-is-kept', '17.stall', (
        'mapping.servers:Servers.follow',
        'if left is not None and order.device is not None:', 'if False:'),
        family='held'),
    _bug('old-proof-outlives-the-agent', '17.stall', (
        'mapping.remember:load',
        "kept['linked_s'] = kept['proven_s'] = None", 'pass'),
        family='restarts'),
    _bug('dropped-words-are-not-expected', '20.bug', (
        'mapping.events:Events._died', 'if found is None:', 'if False:'),
        family='hangs'),
    _bug('late-death-costs-the-next-server', '12.kill', (
        'mapping.decide:_cut_off',
        'if died_s - since_s < _LATE_S and not _unanswered('
        'seen, dead_s, policy):', 'if False:'), (
        'mapping.act:Hands._kill', 'if not action.hung:', 'if False:'),
        family='host'),
    _bug('nobody-looks-before-a-kill', '12.kill', (
        'mapping.act:Hands._kill', 'if not action.hung:', 'if False:'),
        family='queues'),
    _bug('who-dies-of-its-work-is-hammered', '18.hammer', (
        'mapping.learn:_died', 'if memory.short <= SHORT_FREE:', 'if True:'),
        family='crashes'),
    _bug('who-dies-in-its-heal-is-not-counted', '18.hammer', (
        'mapping.learn:_failed', 'if outcome.detail == ENDED:',
        'if False:'), family='crashes'),
    _bug('who-lasts-for-a-moment-makes-all-forgotten', '18.hammer', (
        'mapping.learn:_died', 'lasted_s >= CALM_S', 'lasted_s >= SHORT_S'),
        family='crashes'),
    # Whose it is -----------
    _bug('cookie-is-ignored', '11.foreign', (
        'mapping.decide:_not_ours', 'if device.cookie != seen.key:',
        'if False:'), (
        'mapping.laws:_device', 'if device.cookie != seen.key:',
        'if False:'), (
        'privileged.blocks:verify', 'if found.cookie != cookie:',
        'if False:'), family='nova'),
    _bug('kill-by-a-number-alone', '12.kill', (
        'sysfs.process:same', 'found.start == one.start', 'True'), (
        'mapping.laws:same',
        '(one.pid, one.start) == (other.pid, other.start)',
        'one.pid == other.pid'), (
        'mapping.observe:Observer._server', 'found.dying or mounter.serves(',
        'True or mounter.serves('), (
        f'{_TOOLS}.kill', 'if not job.of_ours(found):', 'if False:'),
        family='deaths', setup={'volumes': 4}),
    _bug('live-client-is-shut-out', '12.fence', (
        'privileged.fencing:forbids', 'if holder.client in known.live:',
        'if False:'), (
        'privileged.fencing:forbids', 'if holder.client not in known.dead:',
        'if False:'), family='locks'),
    _bug('server-is-forgotten-in-a-crash', '13.two', (
        'mapping.observe:Observer._server',
        'for one in self._running(fresh):', 'for one in ():'), (
        f'{_TOOLS}.start', 'if there is not None:', 'if False:'),
        family='restarts'),
    _bug('server-beside-one-that-is-cut-off', '10.lost', (
        'mapping.decide:_no_server',
        'if seen.server is not None and seen.left is None:',
        'if seen.server is not None and (seen.link_dead_s or 0.0) <= '
        '(memory.linked_s or 0.0):'), (
        'mapping.laws:_special',
        'if server is not None and not _left(action, server):',
        'if False:'), (
        f'{_TOOLS}.start', 'if there is not None:', 'if False:'),
        family='hangs', setup={'exclusive': False}),
    _bug('smaller-data-is-served', '15.data', (
        'mapping.act:Hands._give',
        'if served.export.size_bytes < mapping.size_bytes:', 'if False:'), (
        'privileged.blocks:reconnect',
        'if found is None or size < found.size_bytes:',
        'if found is None:'), family='ceph', setup={'kinds': ('file',)}),
    # What a heal does -----------
    _bug('attach-without-a-deadline', '17.stall 21.converge', (
        'mapping.servers:Servers.wait_for', 'if self.clock() >= until_s:',
        'if False:'), (
        'mapping.servers:Servers._knock', 'if self.clock() >= until_s:',
        'if False:'), family='deaths'),
    _bug('heal-disconnects-the-device', '16.eio', (
        'mapping.act:Hands._serve', 'until_s = self.clock()',
        'self._disconnect(mapping, action.device); until_s = self.clock()'),
        family='deaths'),
    _bug('server-without-a-connection-is-kept', '17.stall 21.converge', (
        'mapping.decide:_unproven', 'if unread and cut:', 'if False:'),
        family='restarts', setup={'kinds': ('file',)}),
    _bug('connection-that-was-given-is-believed-in', '17.stall', (
        'mapping.decide:_unproven',
        'not seen.waiting and _not_sent_again(seen, memory)', 'False'),
        family='frozen'),
    _bug('monitors-down-are-given-up', '17.stall', (
        'mapping.learn:_failed', 'refused = outcome.detail == REFUSED',
        'refused = True'), family='ceph', setup={'kinds': ('rbd',)}),
    _bug('record-is-dropped-when-a-heal-fails', '17.stall 21.converge', (
        'mapping.wing:MappingWing.after', 'self._serving.discard(key)',
        'self._serving.discard(key); '
        'outcome.error and self._journal.detach_done(key)'),
        family='ceph', setup={'kinds': ('rbd',)}),
    _bug('no-pause-after-a-failure', '18.hammer', (
        'mapping.learn:_failed', 'next_try_s=now_s + wait_s',
        'next_try_s=0.0'), family='ceph', setup={'kinds': ('file',)}),
    _bug('turn-is-never-given-back', '17.stall 21.converge', (
        'mapping.wing:MappingWing._in_turn',
        'if found.phase is not Phase.HEALING:', 'if False:'),
        family='deaths', setup={'heals_max': 1, 'volumes': 4}),
    _bug('timer-is-not-looked-after', '17.timer', (
        'mapping.decide:_timer',
        'if seen.device.timer_ms in (None, wanted):', 'if True:'),
        family='host'),
    # Others -----------
    _bug('heal-while-nova-disconnects', '14.connector', (
        'mapping.decide:_nova',
        'if state is model.AttachState.DISCONNECTING or (',
        'if False and ('), (
        'mapping.laws:_general',
        'if attachment.state is not model.AttachState.ATTACHED and (',
        'if False and ('), family='nova'),
    _bug('lock-is-not-shared-with-nova', '14.connector 19.leak', (
        'mapping.act:Hands._do',
        'with self.locks.hold(action.volume, LOCK_S):',
        "with __import__('contextlib').nullcontext():"), family='nova'),
    _bug('pause-is-ignored', '14.pause', (
        'mapping.decide:_held',
        'if seen.paused is None or found.action is None:', 'if True:'), (
        'mapping.laws:_general', 'if seen.paused is not None:',
        'if False:'), family='nova'),
    _bug('lock-goes-with-who-asked', '16.eio', (
        'mapping.act:Hands._disconnect',
        'with self.locks.lend(volume, offer) as held:',
        "with __import__('contextlib').nullcontext('') as held:"),
        family='orphans'),
    _bug('unmap-by-the-server', '19.leak', (
        'mapping.act:Hands.unmap', 'if order.device is not None:',
        'if order.device is not None and server is not None:'),
        family='nova'),
    _bug('timer-is-left-behind', '19.leak', (
        'privileged.blocks:disconnect',
        'set_timer(tree, device=name, volume=volume, timer_ms=timer_ms,',
        'dict(tree=tree, device=name, volume=volume, timer_ms=timer_ms,'),
        family='nova'),
    _bug('unfinished-attach-is-in-the-way', '21.converge 19.leak', (
        'connector.mapper:Mapper._there',
        'if same and known is not None and known.order.device is None:',
        'if False:'), (
        'connector.mapper:Mapper.unmap',
        'for device in devices:', 'for device in ():'), family='nova'),
)
