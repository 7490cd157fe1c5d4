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
"""Reads that show whether a device has a connection, as values. Pure.

A request that waits for a connection is not under way for the block layer
(nbd_handle_cmd() waits before it begins the request), one that a server was
sent is. So a read that does not come back tells slow storage from a
connection that is not there: but once it has been sent it tells nothing of
what comes after, for it stays under way when the connection dies.
"""

from collections.abc import Sequence
import dataclasses

from os_brick_healer.nbd import parse

#: More reads of one device than these are never begun, if none comes back.
READS_MAX = 16
#: Between a read that was sent and the first one after it, seconds.
FRESH_S = 4.0
#: Requests that the driver has at once (``queue_depth``, drivers/block/nbd.c).
DEPTH = 128


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A read that has not come back.

    :ivar server: who served the device when it was begun.
    :ivar before: how requests stood then.
    :ivar sent: it was seen to be sent.
    """

    server: parse.Process
    begun_s: float
    before: parse.Requests | None
    sent: bool = False


def shared(reads: Sequence[Read], server: parse.Process,
           now_s: float) -> Read | None:
    """The read to wait for; None: a fresh one.

    One that was not sent tells of every server. Of one that was, the next
    one is begun when the wait has doubled, as each holds a thread for as
    long as the storage is slow.

    :param reads: what has not come back, oldest first.
    """
    if not reads:
        return None
    last = reads[-1]
    if not last.sent or len(reads) >= READS_MAX:
        return last
    if last.server != server:
        return None
    waited_s = max(FRESH_S, last.begun_s - reads[0].begun_s)
    return None if now_s - last.begun_s >= waited_s else last


def after(read: Read, now: parse.Requests | None,
          depth: int = DEPTH) -> Read:
    """The read, with whether it may have been sent: where that cannot be
    told, it was.

    :param depth: more requests than these are not under way at once: the
        next one waits for one of them to end.
    """
    before = read.before
    return dataclasses.replace(read, sent=(
        read.sent or before is None or now is None
        or now.completed != before.completed
        or now.in_flight > before.in_flight or now.in_flight >= depth))
