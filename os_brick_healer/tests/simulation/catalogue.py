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
"""Bugs to be seeded: our guards removed in turn, and the field's own.

Where a guard stands in several places (decided, checked again by the laws,
by the hands, by the privileged side) a bug removes all of them: that one
alone is not noticed is what they are several for.
"""

from os_brick_healer.tests.simulation import defects, mended

SIM = 'tests.simulation'
_bug = defects.bug

_NO_FLOW_LAWS = (
    ('replica.laws:_last_leg',
     "return 'no other in-sync leg is live now (laws 1 and 7)'",
     'return None'),
    ('replica.recheck:need_survivor', 'raise Refused', 'return; Refused'),
    (f'{SIM}.tools:endangered', 'for disk in', 'for disk in [] and'))

GUARDS = (
    # Time and money -----------
    _bug('grace-modulo-an-hour', '8.grace', (
        'replica.asking:_grace_left_s', '+ case.grace_s',
        '+ case.grace_s % 3600.0'), setup={'grace_s': 4000.0},
        family='requests'),
    _bug('no-grace', '8.grace', (
        'replica.asking:_grace_left_s', '+ case.grace_s', '+ 0.0'),
        setup={'grace_s': 120.0},
        family='requests'),
    _bug('wall-clock-for-grace', '8.grace 7.stall 9.converge 8.bug', (
        'replica.wing:ReplicaWing._see', 'now_s = self._clock()',
        'now_s = self._journal._wall()'),
        family='host'),
    _bug('grace-from-the-first-loss-ever', '8.grace', (
        'replica.recall:_one', 'None if reachable', 'old.unreachable_s '
        'if reachable'), setup={'grace_s': 60.0, 'volumes': 1,
                                'backends': 3},
        family='racks'),
    _bug('no-brake', '8.brake', (
        'engine.pacing:brake', 'if len(lost) <= ratio * len(known):',
        'if True:'), setup={'volumes': 4, 'backends': 4, 'legs': 2,
                            'grace_s': 5.0, 'shared': False},
        family='racks'),
    _bug('no-budget', '8.rate', (
        'engine.pacing:budget_left', 'return max(0, per_hour_max - recent)',
        'return 1'), setup={'requests_max': 1, 'volumes': 4,
                            'grace_s': 5.0},
        family='racks'),
    _bug('no-back-off', '8.hammer', (
        'engine.pacing:backoff_s', 'if tries <= 0:', 'if True:'),
        family='host'),
    _bug('probes-chase-looks', '8.hammer', (
        'replica.doubt:portals', 'age >= poll_s / 2', 'True'),
        family='last'),
    # Requests -----------
    _bug('intent-not-written-first', '8.twice', (
        'engine.acting:Actions.begin', 'memory=entry.wing.dump(memory))',
        'memory=None)'),
        family='requests'),
    _bug('memory-not-read-at-start', '8.twice', (
        'replica.wing:ReplicaWing.start',
        'self._memories[key] = memory', 'pass'),
        family='requests'),
    _bug('new-request-id-each-time', '8.twice', (
        'replica.asking:_ask', 'old.id if old is not None else', ''),
        family='requests'),
    _bug('replicas-pile-up-on-retry', '8.twice 8.pile', (
        'replica.asking:_request_one', 'left_s = _grace_left_s(case, leg)',
        'old, left_s = None, _grace_left_s(case, leg)'), (
        'replica.asking:_request_one',
        'if old is not None and old.state is model.RequestState.ARRIVED:',
        'if False:'), (
        'replica.asking:_request_one',
        'if old is not None and old.state is model.RequestState.ACCEPTED:',
        'if False:'), ('replica.asking:_wanted',
                       'return len(others)', 'return True or len(others)'),
        family='requests'),
    _bug('full-disk-is-no-reason-to-stop', '8.twice', (
        'engine.acting:Actions.begin',
        'if action.risk >= verdict_lib.Risk.REPLACE:', 'if False:'), (
        'engine.acting:Notes.attempt', 'write()', 'write()'),
        family='requests'),
    _bug('arrival-not-noticed', '9.converge', (
        'replica.recall:_arrivals', 'if new:', 'if False:'),
        family='requests'),
    _bug('request-forgotten-on-return', '8.twice', (
        'replica.recall:_over',
        'if request is None or _arrived_in_vain(case, request):',
        'if True:'),
        family='arrivals'),
    # The last copy -----------
    _bug('no-last-leg-guard', '1.last-leg 7.eio', (
        'replica.flow:_survivors', 'if x.id != lost.id and '
        'x.proves_live(dead_s))', ') or case.in_sync'), *_NO_FLOW_LAWS,
        family='last'),
    _bug('old-probe-proves-life', '7.break 1.last-leg 7.eio', (
        'replica.case:Leg.proves_live', 'if path.portal_answers:',
        'if True:'), *_NO_FLOW_LAWS,
        family='last'),
    _bug('fast-fail-on-the-last-leg', '7.eio 1.last-leg', (
        'replica.decide:_clear_failfast', 'continue', 'pass'), (
        'replica.decide:_clear_failfast', 'found = _say', 'return None\n'
        '        found = _say'),
        family='last'),
    _bug('shared-controllers-deleted', '1.last-leg 7.eio 4.foreign', (
        'replica.flow:_dead', 'if danger is not None:', 'if False:'), (
        'replica.laws:_special',
        'case model.BreakLeg() if action.replica in seen.endangered:',
        'case model.BreakLeg() if False:'), defects.NO_ANSWER_OF_OTHERS, (
        f'{SIM}.tools:endangered', 'for disk in', 'for disk in [] and'),
        setup={'shared': True, 'volumes': 4, 'backends': 4},
        family='shared'),
    _bug('disconnects-what-others-use', '4.foreign 1.last-leg 7.eio', (
        'replica.heal:retire',
        'and not case.seen.shared.get(leg.id)', ''), (
        'replica.truth:Truth.claimed', 'return nqn is not None and',
        'return False and'), (
        'replica.laws:_unshared', 'if not others:', 'if True:'), (
        f'{SIM}.tools:in_use', 'for disk in', 'for disk in [] and'),
        setup={'shared': True, 'volumes': 4, 'backends': 4,
               'grace_s': 5.0},
        family='shared'),
    _bug('filling-counts-as-in-sync', '3.early-removal 0.stale 7.eio '
         '1.last-leg', (
             'replica.model:Member.in_sync', "'in_sync' in self.flags and",
             'True and'), (
             f'{SIM}.tools:_carries_on', 'for m in array.in_sync)',
             'for m in array.members)'), setup={'grace_s': 5.0},
        family='last'),
    # Removal -----------
    _bug('old-replica-removed-at-once', '3.early-removal', (
        'replica.heal:retire', 'if not all_are and heir is None:',
        'if False:'), (
        'replica.laws:_successor', 'if array.degraded or len(in_sync) < '
        'array.raid_disks:', 'if False:'), (
        'replica.act:Hands._confirm_removal', 'if not succeeded and',
        'if False and'),
        family='arrivals'),
    _bug('never-lets-the-old-one-go', '9.converge', (
        'replica.heal:retire', 'for leg in case.legs:',
        'for leg in ():'),
        family='requests'),
    _bug('displaced-leg-is-kept', '9.converge', (
        'replica.heal:_displaced', 'return (case.whole',
        'return (False and case.whole'), setup={'legs': 3},
        family='arrivals'),
    _bug('refused-successor-keeps-the-old-leg-out', '9.converge', (
        'replica.heal:_may_take_over', 'return heir.namespace is None or',
        'return True or'),
        family='arrivals'),
    _bug('vanished-successor-not-asked-for-anew', '9.converge', (
        'replica.recall:_arrived_in_vain', 'return bool(line) and',
        'return False and'),
        family='arrivals'),
    _bug('controllers-leak', '9.converge', (
        'replica.heal:retire', 'if (leg.paths and', 'if (False and'), (
            'replica.heal:withdrawn', 'in sorted(case.seen.former.items()):',
            'in ():'),
        family='requests'),
    # Additions -----------
    _bug('foreign-data-is-blank', '2.add', (
        'replica.act:Hands._examine', 'if owner is not None:', 'if False:'),
        ('replica.act:Hands._examine', 'if signatures:', 'if False:'), (
            f'{SIM}.tools:Tools.add_spare',
            'if self._free(disk).array_uuid not in (None, wanted) or (',
            'if False and ('), setup={'grace_s': 5.0},
        family='arrivals'),
    _bug('size-not-looked-at', '2.add', (
        'replica.heal:_unfit',
        'namespace.size_bytes < array.component_bytes', 'False'), (
        'replica.laws:_too_small', 'if (namespace.size_bytes is None',
        'if (True'), (f'{SIM}.tools:Tools.add_spare',
                      'if disk.size_bytes < min_size_bytes:', 'if False:'),
        setup={'grace_s': 5.0},
        family='arrivals'),
    _bug('holders-not-looked-at', '2.add', (
        'replica.heal:_unfit', 'if namespace.holders:', 'if False:'), (
        'replica.laws:_named', 'if namespace.holders:', 'if False:'), (
        f'{SIM}.tools:Tools._free',
        'if self.world.md.holder(disk) is not None or', 'if False and'),
        setup={'grace_s': 5.0},
        family='arrivals'),
    _bug('add-in-place-of-re-add', '8.copy', (
        'replica.heal:_add', 'if ours is model.Superblock.OURS and not',
        'if False and not'),
        family='host'),
    _bug('never-re-adds', '9.converge 8.twice', (
        'replica.heal:bring_in', 'if free <= 0:', 'if True:'),
        family='host'),
    # Others at work -----------
    _bug('lock-not-shared-with-nova', '5.nova', (
        'replica.act:Hands._locked',
        'with self.locks.hold(self.settings().lock_timeout_s):',
        'if True:'),
        family='nova'),
    _bug('nova-not-looked-at', '5.nova', (
        'replica.decide:_nova', 'if attachment.owner_alive or leaving:',
        'if False:'), (
        'replica.laws:_general', 'if attachment is not None and (',
        'if False and ('), (
        'replica.act:Hands._locked',
        'with self.locks.hold(self.settings().lock_timeout_s):',
        'if True:'),
        family='nova'),
    _bug('acts-while-two-hosts-have-it', '5.two-hosts', (
        'replica.decide:_two_hosts', 'if not case.seen.peers_hold:',
        'if True:'), ('replica.laws:_general', 'if seen.peers_hold:',
                      'if False:'),
        family='truth'),
    # The truth -----------
    _bug('old-words-are-as-good', '6.truth', (
        'replica.case:Case.fresh', 'return (', 'return True or ('), (
        'replica.laws:_truth', 'if (seen.volume is None', 'if False and ('
        'seen.volume is None'), (
        'replica.wing:ReplicaWing.act',
        'if isinstance(action, _NEED_TRUTH):', 'if False:'), (
        'replica.act:Hands._named_now', 'seen = fresh()',
        'return fresh'),
        family='truth'),
    _bug('losses-are-not-reported', '3.told', (
        'replica.reporting:report_lost',
        'for leg in (*case.outside, *unheard):',
        'for leg in ():'),
        setup={'grace_s': 300.0}, family='racks'),
    _bug('reported-good-while-filling', '3.told', (
        'replica.reporting:report_back', 'for leg in case.in_sync:',
        'for leg in case.members:'),
        family='requests'),
    _bug('clock-of-another-boot', '9.converge', (
        'replica.wing:ReplicaWing.start', 'if not kept.same_boot:',
        'if False:'), family='reboots'),
    # The loop -----------
    _bug('one-exception-ends-the-loop', '8.bug', (
        'engine.loop:Engine._look', 'except Exception as e:',
        'except ZeroDivisionError as e:'),
        family='host'),
    _bug('a-turn-is-never-given-back', '9.converge', (
        'engine.slots:Slots.give_back', 'self._holding.discard(key)',
        'pass'), setup={'heals_max': 1, 'volumes': 4},
        family='racks'),
    _bug('dead-legs-are-never-given-up', '7.stall', (
        'replica.flow:_dead', 'if not survivors:', 'if True:'),
        family='last'),
    _bug('waits-for-another-volumes-lock', '7.stall', (
        'replica.act:Hands._flow_locks', 'min(wait_s, FLOW_LOCK_S) if '
        'attached else wait_s', '100000.0'),
        family='nova'),
    _bug('device-names-by-substring', '9.converge 0.stale 7.stall 7.eio '
         '1.last-leg 3.told', (
             'replica.case:member_of',
             'if seen.array.name not in namespace.holders:', 'if False:'), (
             'replica.case:member_of', 'member.device == namespace.device',
             'member.device in namespace.device'),
        setup={'volumes': 10, 'backends': 2},
        family='shared'),
)
BUGS = GUARDS + mended.BUGS
