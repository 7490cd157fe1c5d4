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
"""Bugs of the KumoScale plugin, to be caught over the wire."""

import functools

from os_brick_healer.tests.simulation import defects

_bug = functools.partial(defects.bug, family='http')
_PLUGIN = 'provisioner.kumoscale:KumoScaleProvisioner'
_CLIENT = 'provisioner.kumoscale_client:Client'
_COMES_FOR_EVER = (f'{_PLUGIN}._answered', 'return lately and',
                   'return asked.arrived(there) or lately and')
#: That a host has let go of a volume has to be said twice.
_SAID_ONCE = (('replica.truth:Truth._still_held', 'if not kept:', 'if True:'),
              ('replica.act:Hands._named_now', 'now.peers_hold or peers',
               'peers'))


GUARDS = (
    _bug('lost-answer-sends-it-to-the-next-address', '8.twice', (
        f'{_PLUGIN}._add_replica', 'once=True', 'once=False')),
    _bug('a-500-has-done-nothing', '8.twice', (
        f'{_CLIENT}._body', 'sent=True', 'sent=False')),
    _bug('empty-list-means-no-replicas', '9.converge', (
        f'{_PLUGIN}._stored', 'raise kumoscale_client.NoSuchThing(',
        "return ks.Stored(id=volume, alias='', size_bytes=None, "
        "replica_count=0, grace_s=None, locations=())\n        raise "
        'kumoscale_client.NoSuchThing('), (
        f'{_PLUGIN}._request_once', 'if (self._answered(asked, there)',
        'if asked.known is None:\n        asked.known = frozenset(there)\n'
        '    if (self._answered(asked, there)'), _COMES_FOR_EVER),
    _bug('marked-replica-is-never-removed', '9.converge', (
        f'{_PLUGIN}.confirm_removal', 'if doomed is None:',
        'if doomed in (None, base.ReplicaState.TERMINATING):')),
    _bug('other-hosts-are-overlooked', '5.two-hosts', (
        f'{_PLUGIN}._holders', 'in strangers.serving(volume)',
        'in _Index(()).serving(volume)')),
)
#: Bugs that were ours, and are mended: see bugs-found in the docs.
MENDED = (
    _bug('dead-replica-counts-as-a-replacement', '9.converge', (
        'provisioner.kumoscale:_under_way',
        'return (len(good) >= stored.replica_count',
        'return (len(stored.locations) > stored.replica_count\n'
        '            or len(good) >= stored.replica_count')),
    _bug('hosts-that-leave-us-out-are-believed', '5.two-hosts', (
        f'{_PLUGIN}._check_listed', 'elif self._listed:', 'elif False:'),
        *_SAID_ONCE),
    _bug('list-from-a-bad-moment-is-believed', '5.two-hosts', (
        f'{_PLUGIN}._strangers', 'if each:', 'if False:'), *_SAID_ONCE),
    _bug('one-answer-ends-another-hosts-hold', '5.two-hosts', *_SAID_ONCE),
    _bug('lost-successor-keeps-the-old-leg-out', '9.converge', (
        'replica.heal:_may_take_over', 'if heir.memory.belongs:',
        'if False:'), (
        'replica.case:Case.heirs',
        'request = None if one is None else one.request',
        'request = None')),
    _bug('left-out-replica-counts-as-the-answer', '9.converge',
         _COMES_FOR_EVER),
    _bug('leg-that-is-taken-away-is-waited-for', '9.converge', (
        'replica.decide:_healthy', 'is not model.ReplicaState.TERMINATING',
        'is not None')),
    _bug('marked-leg-waits-for-its-lost-successor', '9.converge', (
        'replica.heal:_heir', 'sound[0] if going else None',
        'None')),
    _bug('marked-replica-answers-a-request', '9.converge', (
        'replica.recall:_gone', 'return (leg.member is None and',
        'return (False and')),
    _bug('repeat-has-older-rights', '8.grace', (
        'replica.asking:_request_one', 'if found is not None:',
        'return found or _held(case, leg) or _ask(case, leg, old)\n'
        '        if found is not None:')),
    _bug('unsent-request-may-have-been-heard', '8.twice', (
        'provisioner.kumoscale:_clear_if_unsent',
        'if asked.sent_s is not None:', 'if True:')),
    _bug('failed-request-is-answered-first', '8.twice', (
        'replica.recall:_arrivals', 'm.request.failed, m.request.asked_s',
        'm.request.asked_s')),
    _bug('what-was-accepted-is-never-sent-again', '9.converge', (
        f'{_PLUGIN}._answered', 'return lately and',
        'return asked.accepted or lately and')),
)
BUGS = GUARDS + MENDED
