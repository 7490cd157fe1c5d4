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
"""The laws of mapped volumes that are watched, and how much patience."""

LAWS = {
    '10.lost': 'an acknowledged write is not there any more',
    '11.foreign': "another volume's device was touched",
    '12.kill': 'a process was killed that serves, or is not the volume\'s',
    '12.fence': 'a client that lives was shut out of its image',
    '13.two': 'a server was started beside one that lives',
    '14.connector': 'something was changed while a connector was at it',
    '14.pause': 'something was changed although healing is paused',
    '15.data': 'the guest was given less than what was mapped, or another',
    '16.eio': 'the guest got an I/O error',
    '17.stall': 'the guest waits although it could be served',
    '17.timer': 'a mapped device is without its timer',
    '18.hammer': 'the same was tried again and again without a pause',
    '19.leak': 'a device, a process or a timer was left behind',
    '20.bug': 'the agent stumbled over itself',
    '21.converge': 'all faults are over and the volumes are not well again',
}

#: A guest may wait so long although it could be served: a try that began
#: before it could (15 s), the longest pause between two (30 s), the try.
STALL_S = 60.0
#: The same after its data was gone: that is looked at again every 300 s.
REFUSED_S = 300.0
#: A device may lack its timer for so long.
TIMER_S = 90.0
#: What a hand does may have been decided so long before a pause.
PAUSE_S = 4.0
#: A server that was seen not to serve may have come loose so long ago.
LOOSE_S = 0.3
#: Starts for one volume in a minute: three for nothing, eight with pauses
#: that double from 0.25 s on, and one after each that served for 10 s or more.
STARTS_MAX = 16
