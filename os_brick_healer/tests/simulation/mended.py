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
"""Bugs to be seeded that were ours, and are mended: see bugs-found."""

from os_brick_healer.tests.simulation import defects

_bug = defects.bug

BUGS = (
    _bug('brake-is-blind-at-the-start', '8.brake', (
        'replica.doubt:brake', 'for volume, memory in unseen:',
        'for volume, memory in ():'), (
        'replica.surroundings:Surroundings.start',
        'self._doubt(now_s, doubt.STARTED)', 'pass'),
        setup={'volumes': 6, 'backends': 4, 'legs': 2, 'grace_s': 5.0,
               'shared': False}, family='restarts'),
    _bug('brake-is-blind-after-a-pause', '8.brake', (
        'replica.surroundings:Surroundings.run',
        'self._doubt(now_s, doubt.PAUSED)', 'pass'), family='last'),
    _bug('grace-runs-on-while-nobody-looks', '8.grace', (
        'replica.recall:unwatched', 'if now_s - looked_s <= UNWATCHED_S:',
        'if True:'), family='last'),
    _bug('hidden-replica-keeps-a-dead-one', '7.stall', (
        'replica.decide:_also_told', ' or reporting.publish_hidden(case)',
        '')),
    _bug('unheard-loss-is-not-repeated', '3.told', (
        'replica.reporting:report_lost',
        'for leg in (*case.outside, *unheard):',
        'for leg in case.outside:'), family='last'),
    _bug('failed-look-rests-for-minutes', '7.stall 3.told 9.converge', (
        'engine.loop:Engine._look', 'limits.LOOK_REST_LAST_S', '900.0'),
        family='host'),
    _bug('flag-stays-while-all-legs-are-away', '7.eio', (
        'replica.decide:_flowing', 'return _clear_failfast(case) or found',
        'return found')),
    _bug('flag-that-was-not-cleared-is-forgotten', '7.eio', (
        'replica.decide:_still_flagged', 'if not flagged:', 'if True:')),
    _bug('target-of-another-volume-is-disconnected', '9.converge', (
        'replica.truth:Truth.claimed', 'return nqn is not None and',
        'return False and')),
    _bug('leg-that-is-still-to-be-probed-is-fine', '8.brake', (
        'replica.doubt:_unheard', 'return bool(paths)', 'return False'),
        family='host'),
    _bug('successor-of-a-lost-successor-stays', '9.converge', (
        'replica.heal:_superfluous', 'leg.id in case.heirs(request)',
        'request is not None and request.arrived == leg.id'), (
        'replica.heal:_displaced', '{leg.id, *(', '{*('), family='host'),
    _bug('unreadable-volume-says-what-is-fine', '8.brake', (
        'replica.doubt:brake', 'elif seen.key in unread', 'elif False'),
        family='host'),
    _bug('unseen-volume-has-lost-nothing', '8.brake', (
        'replica.doubt:brake', 'for volume, memory in unseen:',
        'for volume, memory in ():'), family='host'),
    _bug('unread-volume-was-never-probed-for', '8.brake', (
        'replica.doubt:brake', 'lost |= {p.address for p in replica.portals '
        'if silent(p)}', 'continue'), family='host'),
    _bug('unread-volume-forgets-who-was-named', '9.converge', (
        'replica.recall:unread', 'for one in volume.replicas:',
        'for one in ():'), family='host'),
    _bug('leg-out-of-its-array-keeps-a-dead-one', '7.stall', (
        'replica.neighbours:Neighbours._out',
        'return found.pop() if len(found) == 1 else None', 'return None'),
        family='shared'),
    _bug('idle-volume-keeps-a-dead-leg', '7.stall', (
        'replica.doubt:spares', 'if _idle(seen) or (', 'if ('),
        family='shared'),
    _bug('unproven-leg-is-counted-on-for-another', '7.break', (
        'replica.doubt:spares', '(p.portal_answers or (',
        '(p.portal_answers is not False or ('), defects.NO_ANSWER_OF_OTHERS,
        family='storms'),
    _bug('two-hosts-volume-is-robbed-for-another', '5.two-hosts', (
        'replica.doubt:spares', 'if seen.peers_hold:', 'if False:'),
        setup={'shared': True}, family='truth'),
    _bug('unread-volume-is-robbed-for-another', '7.break', (
        'replica.neighbours:Neighbours._looks',
        'key not in self.unread', 'True'), defects.NO_ANSWER_OF_OTHERS,
        family='storms'),
    _bug('request-is-put-off-for-ever', '9.converge', (
        'replica.asking:_settles_s', 'if old.failed:',
        'if one.last_error is not None:'), (
        'replica.asking:_settles_s', 'return min(latest_s, max(',
        'return max(1.0, max('), family='requests'),
    _bug('withdrawn-replica-stays-connected', '9.converge', (
        'replica.heal:withdrawn', 'in sorted(case.seen.former.items()):',
        'in ():'), family='arrivals'),
    _bug('successor-alone-keeps-the-old-leg-out', '9.converge', (
        'replica.heal:_succeeded', 'if any(x.in_sync for x in heirs):',
        'if False:'), setup={'legs': 3}, family='arrivals'),
    _bug('nothing-is-told-while-the-guest-waits', '3.told', (
        'replica.decide:_also_told',
        'if (found.phase is not Phase.STALLED', 'if (True'),
        family='last'),
    _bug('refusing-server-counts-as-reachable', '9.converge', (
        'replica.recall:_reachable',
        ' and (leg.dead_s or 0.0) < REFUSED_S', ''), family='requests'),
    _bug('late-replacement-stays', '9.converge', (
        'replica.recall:_too_late', 'if new:', 'if False:'),
        family='tardy'),
    _bug('two-requests-in-doubt-at-once', '9.converge', (
        'replica.asking:_in_turn', 'in case.memory.replicas.items():',
        'in ():'), (
        'replica.asking:_mixed_up', 'return (old.state is',
        'return (False and old.state is'), family='requests'),
    _bug('doubt-is-forgotten-with-the-name', '9.converge', (
        'replica.asking:_in_turn', 'if (request is not None',
        'if (one.unnamed_s is None and request is not None'), (
        'replica.asking:_mixed_up', 'return (old.state is',
        'return (False and old.state is'), family='requests'),
    _bug('answered-request-is-repeated-for-ever', '9.converge', (
        'replica.asking:_mixed_up', 'return (old.state is',
        'return (False and old.state is'), family='requests'),
    _bug('leg-that-is-away-lets-the-old-one-go', '3.early-removal', (
        'replica.heal:retire', 'if x.counts)', ')'), (
        'replica.laws:_successor',
        ' and case_lib.heard(seen.paths.get(r.id, ()))', ''),
        family='requests'),
    _bug('silent-leg-lets-the-old-one-go', '3.early-removal', (
        'replica.act:Hands._confirm_removal',
        'if case_lib.in_sync(seen, key)]', 'if False]'), family='tardy'),
    _bug('what-came-twice-keeps-a-third', '9.converge', (
        'replica.heal:_displaced', 'for key in case.memory.replicas))',
        'for key in {x.id for x in case.in_sync}))'), family='tardy'),
    _bug('whose-slot-was-taken-is-forgotten', '9.converge', (
        'replica.recall:update', 'replicas = _handed_on(case, replicas)',
        'pass'), family='tardy'),
    _bug('one-answer-undoes-an-arrival', '9.converge', (
        'replica.recall:_over', 'if _both_legs(case, request) else',
        'if _both_legs(case, request) or not any(x.id in case.heirs(request)'
        ' for x in case.legs) else'), family='truth'),
    _bug('repeat-that-is-put-off-is-not-waited-for', '9.converge', (
        'replica.asking:_in_doubt_until_s',
        'return max(first_s, _settles_s(case, one, request) + arrival_s)',
        'return first_s'), (
        'replica.asking:_settles_s', 'if old.failed:',
        'if one.last_error is not None:'), (
        'replica.asking:_mixed_up', 'return (old.state is',
        'return (False and old.state is'), family='requests'),
    _bug('answer-undoes-an-arrival', '9.converge', (
        'replica.learn:_accepted',
        ' or request.state is not model.RequestState.ASKED', ''), (
        'replica.heal:_displaced', 'for key in case.memory.replicas))',
        'for key in {x.id for x in case.in_sync}))'), family='http'),
    _bug('older-error-is-taken-for-the-requests-own', '8.twice', (
        'replica.asking:_settles_s', 'if old.failed:',
        'if one.last_error is not None:'), family='http'),
    _bug('leg-with-anothers-slot-is-not-asked-for', '9.converge', (
        'replica.recall:_over', 'None if _both_legs(case, request) else',
        ''),
        family='http'),
)
