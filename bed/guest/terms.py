# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The terms that the simulated host and a real kernel both have to keep.

A simulator proves something about a healer as far as its host behaves as a
real one does. So what it claims about MD and NVMe over fabrics is written
down here once, as calls of the tools that the healer uses and as looks
through the eyes that it has, and is checked on both: by ``test_simulated``
in virtual time, and by the scenario ``contract`` on Linux.

Each term begins with a new volume of two legs that are in sync.
"""

from collections.abc import Callable

from bed.guest.lab import (
    array_of,
    BLANK,
    CLOSED,
    FOREIGN,
    is_whole,
    Lab,
    LATE_S,
    Leg,
    legs,
    need,
    refused,
    same,
    SILENT,
    SMALL,
    SOON_S,
    State,
)
from os_brick_healer import exception

# Terms: paths -----------


def a_closed_connection_shows_at_once_and_the_guest_waits(lab: Lab) -> None:
    lost, kept = legs(lab)
    lab.cut(lost.id, CLOSED)
    lab.until('it is not live', lambda: lost.state is not State.LIVE, SOON_S)
    need(not lab.flows(3.0), 'a write waits for the leg that is away')
    need(lost.role == 'in_sync', 'MD does not know that the leg is away')
    need(array_of(lab).degraded == 0, 'the array is not degraded')
    need(kept.state is State.LIVE, 'the other leg is live')


def a_target_that_is_back_soon_costs_nothing(lab: Lab) -> None:
    lost, _ = legs(lab)
    lab.cut(lost.id, CLOSED)
    lab.until('it is not live', lambda: lost.state is not State.LIVE, SOON_S)
    lab.mend(lost.id)
    lab.until('it is live again', lambda: lost.state is State.LIVE, SOON_S)
    need(lab.flows(SOON_S), 'the guest goes on')
    need(lost.role == 'in_sync' and is_whole(lab), 'no leg was lost')


def silence_does_not_show_before_the_keep_alive_is_over(lab: Lab) -> None:
    lost, _ = legs(lab)
    lab.cut(lost.id, SILENT)
    lab.rest(0.5)
    need(lost.state is State.LIVE, 'a silent controller is called live')
    lab.until('the keep-alive ends it', lambda: lost.state is not State.LIVE,
              3 * lab.keep_alive_s + SOON_S)


def sockets_destroyed_in_silence_end_it_soon(lab: Lab) -> None:
    lost, _ = legs(lab)
    lab.cut(lost.id, SILENT)
    lab.rest(0.3)
    need(lost.destroy_sockets() >= 1, 'there were sockets to destroy')
    lab.until('it is not live', lambda: lost.state is not State.LIVE, SOON_S)
    lab.until('it comes to reconnect',
              lambda: lost.state is State.CONNECTING,
              2 * lab.keep_alive_s + SOON_S)


def a_dead_portal_takes_no_connection(lab: Lab) -> None:
    new = Leg(lab, lab.add_replica(BLANK))
    lab.cut(new.id, CLOSED)
    refused(new.connect, exception.CommandError,
            'a connection to a target that is away fails')
    need(new.path is None, 'no controller is left of it')


def one_connection_is_enough(lab: Lab) -> None:
    _, kept = legs(lab)
    path = kept.path
    assert path is not None
    need(kept.connect() == path.controller,
         'a second connection to the same portal is the first')


# Terms: giving up a leg -----------


def a_dead_controller_that_is_deleted_frees_the_guest(lab: Lab) -> None:
    lost, kept = legs(lab)
    _give_up(lab, lost)
    need(kept.role == 'in_sync', 'the other leg stays')
    need(lost.path is None, 'its controller is gone')


def _give_up(lab: Lab, lost: Leg, how: str = CLOSED) -> None:
    lab.cut(lost.id, how)
    lab.until('it is not live', lambda: lost.state is not State.LIVE,
              3 * lab.keep_alive_s + SOON_S)
    need(lost.delete(), 'the deletion comes to its end')
    lab.until('the array knows that it lacks a leg',
              lambda: array_of(lab).degraded == 1, SOON_S)
    need(lab.flows(SOON_S), 'the guest goes on')
    lab.until('the leg is out of the array',
              lambda: lost.role in (None, 'faulty'), SOON_S)


def in_silence_too(lab: Lab) -> None:
    _give_up(lab, legs(lab)[0], SILENT)


def a_controller_of_a_healthy_leg_is_not_deleted_quietly(lab: Lab) -> None:
    _, kept = legs(lab)
    refused(lambda: kept.delete(idle=True), exception.NotOurs,
            'a leg that an array holds is not idle')
    need(kept.role == 'in_sync' and is_whole(lab), 'nothing has changed')


def the_last_leg_is_not_deleted(lab: Lab) -> None:
    lost, kept = legs(lab)
    _give_up(lab, lost)
    lab.cut(kept.id, CLOSED)
    lab.until('it is not live', lambda: kept.state is not State.LIVE, SOON_S)
    refused(kept.delete, exception.NotOurs,
            'the last leg of an array is not given up')
    need(not lab.flows(2.0), 'the guest waits for it')
    lab.mend(kept.id)
    need(lab.flows(LATE_S), 'it is back and the guest goes on')
    need(array_of(lab).state != 'broken', 'the array is not broken')


def with_all_legs_away_the_guest_waits_and_loses_none(lab: Lab) -> None:
    one, other = legs(lab)
    for leg in (one, other):
        lab.cut(leg.id, CLOSED)
    lab.until('no leg is live', lambda: State.LIVE not in (
        one.state, other.state), SOON_S)
    need(not lab.flows(2.0), 'the guest waits')
    for leg in (one, other):
        lab.mend(leg.id)
    need(lab.flows(LATE_S), 'the guest goes on')
    need(is_whole(lab), 'both are still legs')


# Terms: membership -----------


def a_leg_that_is_back_is_re_added_by_the_bitmap(lab: Lab) -> None:
    lost, _ = legs(lab)
    _return(lab, lost)
    need(lost.superblock() is not None and same(
        lost.superblock(), array_of(lab).uuid),
        'it still says whose leg it is')
    need(not lost.held, 'nothing holds it before it is added')
    need(lost.re_add(), 're-adding it changes something')
    need(not lost.re_add(), 'doing it again changes nothing')
    lab.until('it is in sync', lambda: lost.role == 'in_sync'
              and is_whole(lab), LATE_S)
    need(lost.held, 'the array holds it')
    need(lab.flows(SOON_S), 'the guest goes on')


def _return(lab: Lab, lost: Leg) -> None:
    _give_up(lab, lost)
    lab.until('a leg that is gone is no member',
              lambda: lost.role is None, SOON_S)
    lab.mend(lost.id)
    lost.appear()


def a_blank_replica_is_filled_from_the_others(lab: Lab) -> None:
    lost, _ = legs(lab)
    _give_up(lab, lost)
    new = Leg(lab, lab.add_replica(BLANK))
    new.appear()
    need(new.superblock() is None, 'a blank replica is nobody\'s leg')
    refused(new.re_add, exception.HealerError,
            'what was never a leg is not re-added')
    need(new.add(), 'adding it changes something')
    need(new.role in ('spare', 'in_sync'), 'it is a member')
    lab.until('it is in sync', lambda: new.role == 'in_sync'
              and is_whole(lab), LATE_S)
    need(same(new.superblock(), array_of(lab).uuid),
         'it carries the superblock of the array')


def a_small_replica_is_refused(lab: Lab) -> None:
    _refuses(lab, SMALL)


def a_replica_with_somebody_s_data_is_refused(lab: Lab) -> None:
    _refuses(lab, FOREIGN)


def _refuses(lab: Lab, kind: str) -> None:
    lost, _ = legs(lab)
    _give_up(lab, lost)
    new = Leg(lab, lab.add_replica(kind))
    new.appear()
    refused(new.add, exception.HealerError, f'a {kind} replica is refused')
    need(new.role is None and not new.held, 'it is not in the array')


def a_leg_in_sync_is_not_removed(lab: Lab) -> None:
    _, kept = legs(lab)
    refused(kept.remove, exception.HealerError,
            'a leg that is in sync is not removed')
    need(kept.role == 'in_sync' and is_whole(lab), 'nothing has changed')


def a_leg_that_goes_while_it_is_filled_leaves_the_array_as_it_was(
        lab: Lab) -> None:
    lost, kept = legs(lab)
    _give_up(lab, lost)
    new = Leg(lab, lab.add_replica(BLANK))
    new.appear()
    new.add()
    lab.cut(new.id, CLOSED)
    lab.until('it is not live', lambda: new.state is not State.LIVE, SOON_S)
    if new.role == 'in_sync':
        return        # it was filled before the cut
    need(new.delete(), 'the deletion comes to its end')
    lab.until('it is out', lambda: new.role in (None, 'faulty'), SOON_S)
    need(kept.role == 'in_sync', 'the whole leg stays')
    need(lab.flows(SOON_S), 'the guest goes on')


TERMS: tuple[Callable[[Lab], None], ...] = (
    a_closed_connection_shows_at_once_and_the_guest_waits,
    a_target_that_is_back_soon_costs_nothing,
    silence_does_not_show_before_the_keep_alive_is_over,
    sockets_destroyed_in_silence_end_it_soon,
    a_dead_portal_takes_no_connection,
    one_connection_is_enough,
    a_dead_controller_that_is_deleted_frees_the_guest,
    in_silence_too,
    a_controller_of_a_healthy_leg_is_not_deleted_quietly,
    the_last_leg_is_not_deleted,
    with_all_legs_away_the_guest_waits_and_loses_none,
    a_leg_that_is_back_is_re_added_by_the_bitmap,
    a_blank_replica_is_filled_from_the_others,
    a_small_replica_is_refused,
    a_replica_with_somebody_s_data_is_refused,
    a_leg_in_sync_is_not_removed,
    a_leg_that_goes_while_it_is_filled_leaves_the_array_as_it_was,
)
