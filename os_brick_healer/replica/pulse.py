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
"""The cheap look: what is read again and again while nothing happens.

Linux 6.1 raises no event when a controller's state changes, so it has to be
polled; and whether I/O moves can only be counted. The files stay open, one
pread each. What md changes it announces on /proc/mdstat (POLLPRI), so md's
own attributes are read when it does, and once in a while in any case. That
file's text is not read: of an array whose bitmap is being written the kernel
shows nothing before that is done, and if all its legs are silent, never.

A pulse names volumes that deserve a look. It decides nothing, and it may
name one for nothing.
"""

from collections.abc import Iterable
import math
import os
import resource
import select
import threading

from os_brick_healer import exception
from os_brick_healer.provisioner import base
from os_brick_healer.sysfs import md, nvme, parse, reader

_READ_BYTES = 512

#: Arrays whose members are read in one sample, after md has had news.
_MARKS_MAX = 64

#: Volumes read in every sample, however close together samples are.
_BATCH_MIN = 128

#: Volumes read in a second, at most: with more than these one that is well
#: is read less often than once in period_s.
_VISITS_PER_S_MAX = 2000

#: What md announces is read without an announcement every so many visits.
_MD_VISITS = 5

#: With more volumes than _BATCH_MIN: the same; and the controllers of one
#: that nobody reads or writes, and for which nobody waits. Each second visit
#: of such a one is left out.
_MD_VISITS_MANY = 30
_REST_VISITS = 4

#: A stall is named when it is stuck_s old, then each time it has doubled,
#: at least this often.
_ALARM_MAX_S = 30.0

#: A value that no file has: the first read of a file is a change.
_NEVER = b'\0'

#: array_state flips between these whenever writes begin and end.
_RUNNING = frozenset((b'clean\n', b'active\n', b'active-idle\n',
                      b'write-pending\n'))

_LIVE = b'live\n'


class _File:
    """An attribute that stays open; ``raw`` is None when it is gone."""

    __slots__ = ('fd', 'path', 'raw', 'seldom')

    def __init__(self, path: str, *, seldom: bool = False) -> None:
        self.path = path
        self.seldom = seldom
        self.fd = -1
        self.raw: bytes | None = _NEVER


class _Controller(_File):
    """The state of a controller, shared by all volumes behind it."""

    __slots__ = ('birth', 'keys', 'name', 'since_s', 'tick')

    def __init__(self, path: str, name: str) -> None:
        super().__init__(path)
        self.name = name
        self.keys: set[base.VolumeId] = set()
        self.birth: int | None = None
        self.since_s = 0.0
        self.tick = -1


class _Watch:
    """One volume.

    :ivar waiting_s: since when requests have waited without one completing.
    :ivar alarm_s: the age of the stall at which it is named next.
    :ivar hot: something is wrong with it: read it in every sample.
    :ivar rests: nobody read or wrote when it was read last.
    :ivar skip: for that, its next visit is left out.
    :ivar marks: its members, as they were when they were read last: when it
        began to be watched, or after md had news.
    """

    __slots__ = ('alarm_s', 'array', 'completed', 'controllers', 'degraded',
                 'hot', 'in_flight', 'key', 'marks', 'rests', 'skip', 'stat',
                 'state', 'sync', 'visited_s', 'visits', 'waiting_s')

    def __init__(self, key: base.VolumeId, alarm_s: float) -> None:
        self.key = key
        self.controllers: tuple[_Controller, ...] = ()
        self.array: str | None = None
        self.stat: _File | None = None
        self.degraded: _File | None = None
        self.sync: _File | None = None
        self.state: _File | None = None
        self.marks: md.Marks | None = None
        self.visits = 0
        self.visited_s = -math.inf
        self.hot = True
        self.rests = self.skip = False
        self.completed = -1
        self.in_flight = 0
        self.waiting_s: float | None = None
        self.alarm_s = alarm_s

    def files(self) -> tuple[_File, ...]:
        return tuple(f for f in (self.stat, self.degraded, self.sync,
                                 self.state) if f is not None)


class Pulse:
    """Samples the watched volumes. Thread-safe.

    :param stuck_s: a volume whose I/O has not moved for this long is named.
    :param period_s: each volume is read at least once in this time, however
        often sample() is called (or in turns, 2,000 in a second); one in
        trouble is read in every sample. Where there are many, one at rest
        is read every second time, its controllers every eighth time.
    :param fds_max: how many files stay open; further ones are opened each
        time. Default: half of what this process may have.
    """

    def __init__(self, tree: reader.Tree, *, stuck_s: float = 1.0,
                 period_s: float = 1.0, fds_max: int | None = None) -> None:
        self._tree = tree
        self._alarm_s = max(stuck_s, 0.001)
        self._period_s = period_s
        if fds_max is None:
            fds_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self._fds_left = fds_max
        self._lock = threading.RLock()
        self._controllers: dict[str, _Controller] = {}
        self._watches: dict[base.VolumeId, _Watch] = {}
        self._ring: list[_Watch] = []
        self._next = 0
        self._tick = 0
        self._sampled_s = -math.inf
        self._mdstat = _Mdstat(tree)
        self._unmarked: list[_Watch] = []
        #: Files that were there and could not be read, all told.
        self.unreadable = 0
        #: Whether requests did not move between the last two reads of a
        #: volume: worth a closer look than usual.
        self.uneasy = False

    def watch(self, key: base.VolumeId, controllers: Iterable[str],
              array: str | None) -> None:
        """Watch these for this volume, and no others from now on."""
        with self._lock:
            watch = self._watches.get(key)
            if watch is None:
                watch = self._watches[key] = _Watch(key, self._alarm_s)
                self._ring.append(watch)
            self._watch_controllers(watch, sorted(set(controllers)))
            if watch.array != array:
                self._watch_array(watch, array)

    def forget(self, key: base.VolumeId) -> None:
        """Watch nothing for this volume any more."""
        with self._lock:
            watch = self._watches.pop(key, None)
            if watch is not None:
                self._watch_controllers(watch, [])
                self._watch_array(watch, None)
                self._ring.remove(watch)

    def close(self) -> None:
        """Give back all files."""
        with self._lock:
            for key in list(self._watches):
                self.forget(key)
            self._mdstat.close()

    def sample(self, now_s: float) -> frozenset[base.VolumeId]:
        """Read what is due; answers the volumes that deserve a look.

        That is: what was read has changed since it was read last (a first
        read counts), or I/O is stuck, or has come unstuck.
        """
        with self._lock:
            self._tick += 1
            self.uneasy = False
            if not self._ring:      # nor would md have news for anybody
                self._sampled_s = now_s
                return frozenset()
            named: set[base.VolumeId] = set()
            for watch in self._due(now_s):
                if watch.skip and not watch.hot:
                    watch.skip = False
                else:
                    self._visit(watch, now_s, named)
            for watch in self._ring:
                if watch.hot and watch.visited_s != now_s:
                    self._visit(watch, now_s, named)
            if self._mdstat.news():
                for watch in self._ring:
                    self._visit_md(watch, named)
                self._unmarked = sorted(self._ring, key=lambda w: w.hot)
            for _ in range(min(_MARKS_MAX, len(self._unmarked))):
                self._mark(self._unmarked.pop(), named)
            self._sampled_s = now_s
            return frozenset(named)

    def stuck_s(self, key: base.VolumeId, now_s: float) -> float:
        """How long this volume's I/O has been waiting, at least."""
        watch = self._watches.get(key)
        if watch is None:
            return 0.0
        since_s, seen_s = watch.waiting_s, watch.visited_s
        # Nobody samples: what was seen then says nothing about now.
        if since_s is None or now_s - seen_s > 5 * self._period_s:
            return 0.0
        return max(0.0, seen_s - since_s)

    def state_for_s(self, controller: str, now_s: float) -> float:
        """How long a controller has been in its state, at least."""
        found = self._controllers.get(controller)
        if found is None or found.raw in (None, _NEVER):
            return 0.0
        return max(0.0, now_s - found.since_s)

    def age_s(self, controller: str, birth: int | None, state: str,
              now_s: float) -> float:
        """The same, if this very controller was last seen in this state.

        :param birth: of ``/sys/class/nvme/nvmeN``, see Tree.birth().
        """
        found = self._controllers.get(controller)
        if found is None or found.birth != birth or (
                found.raw != state.encode() + b'\n'):
            return 0.0
        return max(0.0, now_s - found.since_s)

    # What is read -----------------------------------------------------------

    def _due(self, now_s: float) -> Iterable[_Watch]:
        ring = self._ring
        since_s = max(0.0, now_s - self._sampled_s)
        share = min(1.0, since_s / self._period_s)
        count = max(_BATCH_MIN, math.ceil(min(
            len(ring) * share, _VISITS_PER_S_MAX * since_s)))
        if count >= len(ring):
            return ring
        start = self._next % len(ring)
        self._next = start + count
        batch = ring[start:start + count]
        batch += ring[:count - len(batch)]
        return batch

    def _visit(self, watch: _Watch, now_s: float,
               named: set[base.VolumeId]) -> None:
        turn, watch.visits = watch.visits, watch.visits + 1
        many = len(self._ring) > _BATCH_MIN
        rests = many and watch.rests and not watch.hot
        watch.visited_s = now_s
        moved = self._visit_stat(watch, now_s, named)
        still = watch.in_flight > 0 and not moved
        self.uneasy = self.uneasy or still
        watch.rests = not (moved or still)
        watch.skip = many and watch.rests
        if not (rests and watch.rests and turn % _REST_VISITS):
            watch.hot = still
            for controller in watch.controllers:
                if controller.tick != self._tick:
                    controller.tick = self._tick
                    if self._changed(controller):
                        controller.since_s = now_s
                        self._stir(controller, named)
                if controller.raw != _LIVE:
                    watch.hot = True
        if turn % (_MD_VISITS_MANY if many else _MD_VISITS) == 0:
            self._visit_md(watch, named)

    def _stir(self, controller: _Controller,
              named: set[base.VolumeId]) -> None:
        named.update(controller.keys)
        for key in controller.keys:
            self._watches[key].hot = True

    def _visit_stat(self, watch: _Watch, now_s: float,
                    named: set[base.VolumeId]) -> bool:
        """Answers whether requests have completed since the last read."""
        stat = watch.stat
        if stat is None:
            return False
        before, moved = stat.raw, False
        # The numbers move all the time: only a stop of them is news.
        if self._changed(stat):
            if before is None or stat.raw is None or before is _NEVER:
                named.add(watch.key)
            moved = _count(watch, stat.raw)
        if watch.in_flight or watch.waiting_s is not None:
            self._wait(watch, moved, now_s, named)
        return moved

    def _wait(self, watch: _Watch, moved: bool, now_s: float,
              named: set[base.VolumeId]) -> None:
        """Requests wait, or did until now."""
        if not watch.in_flight:
            watch.waiting_s = None
        elif moved or watch.waiting_s is None:
            watch.waiting_s = now_s
        stuck_s = 0.0 if watch.waiting_s is None else now_s - watch.waiting_s
        if stuck_s >= watch.alarm_s:
            named.add(watch.key)
            while watch.alarm_s <= stuck_s:
                watch.alarm_s += min(watch.alarm_s, _ALARM_MAX_S)
        elif not stuck_s and watch.alarm_s != self._alarm_s:
            named.add(watch.key)
            watch.alarm_s = self._alarm_s

    def _mark(self, watch: _Watch, named: set[base.VolumeId]) -> None:
        """Members may come and go, and all else of an array be the same."""
        before, watch.marks = watch.marks, self._marks(watch.array)
        if watch.marks != before:
            named.add(watch.key)

    def _marks(self, array: str | None) -> md.Marks | None:
        """None: there are none, or the next look will say what is wrong."""
        if array is None:
            return None
        try:
            return md.marks(self._tree, array)
        except exception.HealerError:
            return None

    def _visit_md(self, watch: _Watch, named: set[base.VolumeId]) -> None:
        degraded, sync, state = watch.degraded, watch.sync, watch.state
        if degraded is None or sync is None or state is None:
            return
        if self._changed(degraded) | self._changed(sync):
            named.add(watch.key)
        before = state.raw
        if self._changed(state) and not (
                before in _RUNNING and state.raw in _RUNNING):
            named.add(watch.key)

    def _changed(self, file: _File) -> bool:
        before = file.raw
        if file.fd >= 0:
            try:
                file.raw = os.pread(file.fd, _READ_BYTES, 0) or None
            except OSError:
                # ENODEV: the object is gone. One of the same name may have
                # come; it is another, whatever it says.
                self._close(file)
                file.raw = None
            return file.raw != before
        file.raw = self._open(file)
        return file.raw != before

    def _open(self, file: _File) -> bytes | None:
        try:
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            self.unreadable += 1
            return file.raw
        try:
            raw = os.pread(fd, _READ_BYTES, 0) or None
        except OSError:
            raw = None
        if isinstance(file, _Controller):
            file.birth = _birth(file)
        # What is read seldom must not take the place of what is not.
        spare = 3 * len(self._ring) if file.seldom else 0
        if raw is not None and self._fds_left > spare:
            self._fds_left -= 1
            file.fd = fd
        else:
            os.close(fd)
        return raw

    def _close(self, file: _File) -> None:
        if file.fd >= 0:
            os.close(file.fd)
            file.fd = -1
            self._fds_left += 1

    # What is watched --------------------------------------------------------

    def _watch_controllers(self, watch: _Watch, wanted: list[str]) -> None:
        if [c.name for c in watch.controllers] == wanted:
            return
        before = watch.controllers
        watch.controllers = tuple(self._controller(n) for n in wanted)
        watch.hot = True
        for controller in watch.controllers:
            controller.keys.add(watch.key)
        for controller in before:
            if controller not in watch.controllers:
                controller.keys.discard(watch.key)
                if not controller.keys:
                    self._close(controller)
                    del self._controllers[controller.name]

    def _controller(self, name: str) -> _Controller:
        found = self._controllers.get(name)
        if found is None:
            path = self._tree.path(f'{nvme.CONTROLLERS}/{name}/state')
            found = self._controllers[name] = _Controller(path, name)
        return found

    def _watch_array(self, watch: _Watch, array: str | None) -> None:
        for file in watch.files():
            self._close(file)
        watch.array, watch.marks = array, self._marks(array)
        watch.completed, watch.in_flight, watch.waiting_s = -1, 0, None
        watch.alarm_s = self._alarm_s
        watch.hot = True
        if array is None:
            watch.stat = watch.degraded = watch.sync = watch.state = None
            return
        at = self._tree.path(f'sys/block/{array}/')
        watch.stat = _File(at + 'stat')
        watch.degraded = _File(at + 'md/degraded', seldom=True)
        watch.sync = _File(at + 'md/sync_action', seldom=True)
        watch.state = _File(at + 'md/array_state', seldom=True)


def _birth(controller: _Controller) -> int | None:
    try:
        return os.stat(os.path.dirname(controller.path)).st_ino
    except OSError:
        return None


def _count(watch: _Watch, raw: bytes | None) -> bool:
    """Take in the counters; answers whether a request has completed.

    What cannot be read does not wait.
    """
    before = watch.completed
    watch.completed, watch.in_flight = -1, 0
    if raw is not None:
        try:
            stat = parse.block_stat(raw.decode('ascii', 'replace'))
        except parse.ParseError:
            return False
        watch.completed, watch.in_flight = stat.completed, stat.in_flight
    return watch.completed != before


class _Mdstat:
    """Announcements on /proc/mdstat.

    mdstat_poll() answers POLLPRI | POLLERR when md's event counter differs
    from what it was when this open file was read from its beginning last.
    A plain file (a copy of a tree) announces by being replaced.
    """

    def __init__(self, tree: reader.Tree) -> None:
        self._path = tree.path('proc/mdstat')
        self._fd = -1
        self._epoll: select.epoll | None = None
        self._file: tuple[int, int] | None = None

    def news(self) -> bool:
        """Whether md may have changed anything since the last call."""
        if self._epoll is not None:
            return self._polled(self._epoll)
        return self._open() or self._replaced()

    def close(self) -> None:
        if self._epoll is not None:
            self._epoll.close()
            os.close(self._fd)
        self._epoll = None
        self._fd = -1

    def _polled(self, epoll: select.epoll) -> bool:
        if not epoll.poll(0):
            return False
        # The header comes first, is all that is read, and takes note of the
        # counter.
        os.pread(self._fd, 1, 0)
        return True

    def _open(self) -> bool:
        # md is a module: the file may come later.
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        epoll = select.epoll()
        try:
            epoll.register(fd, select.EPOLLPRI | select.EPOLLERR)
        except OSError:
            # EPERM: a plain file.
            epoll.close()
            os.close(fd)
            return False
        os.pread(fd, 1, 0)
        self._fd, self._epoll = fd, epoll
        return True

    def _replaced(self) -> bool:
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        before, self._file = self._file, (found.st_ino, found.st_mtime_ns)
        return before != self._file
