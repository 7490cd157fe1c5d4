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
"""The laws that are watched, and how much patience there is."""

LAWS = {
    '0.stale': 'a leg that MD reads from lacks an acknowledged write',
    '1.last-leg': 'the last in-sync leg was failed, removed or starved',
    '2.add': 'a device joined an array that must not have',
    '3.early-removal': 'a replica was deleted that was still needed',
    '3.told': 'a stale leg is offered to others as a good one',
    '4.foreign': "somebody else's array or device was touched",
    '5.nova': 'something was changed while os-brick was at it',
    '5.two-hosts': 'something was changed while two hosts had the volume',
    '6.truth': 'something was destroyed without the provisioner\'s word',
    '7.eio': 'the guest got an I/O error',
    '7.break': 'a leg was given up while no other could serve',
    '7.stall': 'the guest waits although a leg could serve it',
    '8.twice': 'a second replacement was asked for the same lost replica',
    '8.pile': 'replicas pile up',
    '8.grace': 'a replacement was requested before the grace was over',
    '8.brake': 'a replacement was requested while half of all is lost',
    '8.rate': 'too much was asked for in an hour',
    '8.copy': 'everything was copied where the bitmap would have done',
    '8.hammer': 'the same was tried again and again without a pause',
    '8.bug': 'the agent stumbled over itself',
    '9.converge': 'all faults are over and the world is not well again',
}

#: A guest may wait so long although a leg serves, before law 7 is broken:
#: silence is noticed (1 s), the tear-down waits for a keep-alive (K + 1 s),
#: the deletion for a reconnect (3 s), a failed try is repeated after 5 s.
STALL_S = 45.0
#: The provisioner's words may be this much older than its age limit: locks
#: and one command may be waited for after they were looked at.
SLACK_S = 45.0
#: A leg that has served so lately may be counted on: between the look and the
#: effect it can die.
SERVED_S = 5.0
#: Between a probe that answers and what is done for that.
HEARD_S = 0.2
#: What is wrong with a leg is to be told within this time.
TOLD_S = 90.0
#: What is told may have been decided, and true, so long ago.
TOLD_LATE_S = 30.0
#: Commands of one kind in a minute; flapping legs and many volumes count.
COMMANDS_MAX = 60
#: A leg that was back for a shorter time may have been overlooked.
BLINK_S = 20.0
