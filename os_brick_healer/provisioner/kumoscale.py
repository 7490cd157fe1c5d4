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
"""KIOXIA KumoScale: NVMe-oF volumes replicated by MD on the host."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
import contextlib
import dataclasses
import hashlib
import itertools
import threading
import time
from typing import ClassVar

from oslo_config import cfg
from oslo_log import log as logging

from os_brick_healer import exception, version
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import base, kumoscale_client, kumoscale_conf
from os_brick_healer.provisioner import kumoscale_parse as ks

LOG = logging.getLogger(__name__)

#: What stands for a host that KumoScale shows without saying which.
SOMEBODY = 'a host that KumoScale does not name'

#: How long "this volume is not for us" is believed, where each such answer
#: costs a request of its own. Nothing else is ever remembered.
NOT_OURS_S = 60.0

#: A KumoScale that does not tell the targets of all hosts in one answer is
#: asked for that again after so long: it may have been a bad moment.
UNFILTERED_AGAIN_S = 600.0

#: How long to look for the outcome of a request whose answer was lost.
UNCERTAIN_S = 60.0
#: How many requests for replacements one process remembers.
REQUESTS_MAX = 1000
#: The vendor's own limit, reached for a while during a replacement.
REPLICAS_MAX = 4

_WORDS = {
    base.ReplicaState.AVAILABLE: 'Available',
    base.ReplicaState.SYNCHRONIZING: 'Synchronizing',
    base.ReplicaState.MISSING: 'Missing',
}


class KumoScaleProvisioner(base.Provisioner):
    """The KumoScale provisioner's REST API.

    Which volumes are published to this host is asked with four requests,
    whatever their number: ``volumes``, ``backends``, ``hosts`` and
    ``targets?hostId=US``. Where the targets name the volumes that they are
    for, that is all. A generation that leaves this out costs
    ``targets?hostId=US&volId=IT`` for each volume that may be ours, too.

    Who else holds a volume is in ``targets`` without a filter (one
    request), where that is answered and complete. Where it is not, the
    targets of each other host are asked for, or those of each of our
    volumes, whichever is less, and there a target that is not among ours
    betrays another host even where the entries name none. ``Volume.hosts``
    is None when even that tells nothing. An answer may have been given while
    KumoScale had just forgotten everything: who is asked about others tells
    of our own targets, too, or we ask for them once more.

    So ``batch`` and ``knows_hosts`` are kept where the targets name volumes
    and hosts, and cannot be promised for every generation.

    A request to add a replica carries no id of its own. It is made
    idempotent by reading the volume first, by what this process remembers
    of it, and by never sending it to a second address after a first that
    may have taken it. A process that dies just then forgets, and the list
    of replicas alone does not always tell a new one, so
    ``idempotent_replacement`` is not promised either: the caller keeps the
    replicas that it knew before it asked, and asks no more once another is
    listed.

    :param clock: seconds that never go back.
    """

    guarantees: ClassVar[base.Guarantees] = base.Guarantees(
        batch=False, knows_hosts=False, idempotent_replacement=False)

    def __init__(self, conf: cfg.ConfigOpts, host: base.HostIdentity, *,
                 clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(conf, host)
        self._clock = clock
        self._client = self._new_client()
        self._lock = threading.Lock()
        self._host_id = host.uuid
        self._requested: dict[str, _Asked] = {}
        self._unfiltered_next_s = 0.0
        self._listed = self._tells_ours = False
        self._not_ours: dict[base.VolumeId, float] = {}

    def _new_client(self) -> kumoscale_client.Client:
        return kumoscale_client.Client(kumoscale_conf.load(self.conf),
                                       self._clock)

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent so far."""
        return self._client.requests

    def close(self) -> None:
        self._client.close()

    # -- the host --

    def probe(self) -> str:
        interval_s = self.conf[opts.GROUP].provisioner_interval
        self._client.do(
            'POST', 'host_probe', 'register this host with KumoScale',
            body={'hostNqn': self.host.nqn, 'hostId': self._us(),
                  'name': host_name(self.host.name), 'clientType': 'Agent',
                  'version': f'os-brick-healer-{version.version_string()}',
                  'duration': int(max(30.0, 3.0 * interval_s))})
        info = self._client.get('info', 'ask KumoScale for its version')
        return (f'KumoScale provisioner {ks.version(info)} '
                f'at {self._client.address}, as host {self.host.name}')

    def _us(self) -> str:
        """Our id: what os-brick told cinder, else what our NQN leads to.

        os-brick takes the uuid of the root file system, which an overlay
        has not.
        """
        if self._host_id is None:
            known = ks.hosts(self._client.get(
                'hosts', 'find this host in KumoScale'))
            ours = [h.uuid for h in known.values()
                    if h.nqn == self.host.nqn]
            if len(ours) != 1:
                raise exception.ProvisionerRefused(
                    'cannot tell KumoScale who this host is: because '
                    'os-brick finds no uuid for it and KumoScale lists '
                    f'{len(ours)} hosts with its NQN {self.host.nqn}')
            self._host_id = ours[0]
        return self._host_id.lower()

    # -- what there is --

    def volumes(self) -> Mapping[base.VolumeId, base.Volume]:
        us = self._us()
        mine = self._targets('list the targets of this host', hostId=us)
        _check_host(us, mine)
        if not mine:
            return {}
        get, path = self._client.get, self._client.path
        stored = ks.volumes(get(path('volumes'), 'list the volumes'))
        reached = ks.portals(get('backends', 'list the back ends'))
        known = ks.hosts(get('hosts', 'list the hosts'))
        self._check_listed(us, known)
        names = _names(known, us, self.host.name)
        serving = self._serving(us, mine, stored)
        others = names.keys() - {us}
        strangers = self._strangers(us, mine, others, len(serving))
        found = {}
        for name, targets in serving.items():
            holders = self._holders(stored[name], mine, targets, strangers)
            found[name] = ks.volume(
                stored[name], targets, reached,
                None if holders is None else frozenset(
                    names.get(holder, holder) for holder in {us, *holders}))
        return found

    def _check_listed(self, us: str, known: Collection[str]) -> None:
        """A list that leaves us out may leave out who else holds a volume.

        Unless we have never been in it: not everybody may be shown all.
        """
        if us in known:
            self._listed = True
        elif self._listed:
            raise exception.ProvisionerNonsense(
                'cannot list the hosts: because KumoScale contradicts '
                'itself: this host was among them, and is left out now')

    def _targets(self, what: str, **params: str) -> tuple[ks.Target, ...]:
        return ks.targets(self._client.get('targets', what, params))

    def _serving(self, us: str, mine: tuple[ks.Target, ...],
                 stored: Mapping[base.VolumeId, ks.Stored]
                 ) -> dict[base.VolumeId, tuple[ks.Target, ...]]:
        """Our volumes, each with those of our targets that serve it."""
        silent = any(target.serves is None for target in mine)
        index = _Index(mine)
        found = {}
        for name, volume in stored.items():
            serving = index.serving(volume)
            if serving and silent:
                serving = self._ask_ours(us, name)
            if serving:
                found[name] = serving
        return found

    def _ask_ours(self, us: str, name: base.VolumeId
                  ) -> tuple[ks.Target, ...]:
        now_s = self._clock()
        if self._not_ours.get(name, now_s) > now_s:
            return ()
        found = self._targets(f'list the targets of volume {name}',
                              hostId=us, volId=name)
        if not found:
            self._not_ours[name] = now_s + NOT_OURS_S
        return found

    def _strangers(self, us: str, mine: tuple[ks.Target, ...],
                   others: Collection[str], ours: int) -> '_Index | None':
        """The targets of other hosts; None where KumoScale does not tell."""
        if any(target.serves is None for target in mine):
            return None
        found = self._unfiltered(us, mine)
        if found is not None:
            return _Index(one for one in found if one.host != us)
        if len(others) > ours:
            return None
        each = {other: self._targets(f'list the targets of host {other}',
                                     hostId=other) for other in others}
        if each:
            # Theirs may be none; but not if ours, asked next, are none.
            _check_ours(mine, self._targets(
                'list the targets of this host again', hostId=us))
        return _Index(dataclasses.replace(target, host=other)
                      for other, targets in each.items()
                      for target in targets)

    def _unfiltered(self, us: str, mine: tuple[ks.Target, ...]
                    ) -> tuple[ks.Target, ...] | None:
        if self._clock() < self._unfiltered_next_s:
            return None
        try:
            found = self._targets('list the targets of all hosts')
        except (exception.ProvisionerRefused,
                exception.ProvisionerNonsense):
            found = ()
        told = {target.nqn for target in found if target.host == us}
        # An answer that leaves out what we know is no answer.
        if (told.issuperset(target.nqn for target in mine)
                and all(t.host and t.serves is not None for t in found)):
            return found
        self._unfiltered_next_s = self._clock() + UNFILTERED_AGAIN_S
        return None

    def _holders(self, volume: ks.Stored, mine: tuple[ks.Target, ...],
                 ours: tuple[ks.Target, ...],
                 strangers: '_Index | None') -> frozenset[str] | None:
        """Ids of the hosts that hold one of our volumes, beside us.

        :param ours: those of our targets that serve it.
        """
        if strangers is not None:
            return frozenset(target.host or SOMEBODY
                             for target in strangers.serving(volume))
        found = self._targets(
            f'list all targets of volume {volume.id}', volId=volume.id)
        known = {target.nqn for target in mine}
        if not known.isdisjoint(t.nqn for t in found):
            self._tells_ours = True
        elif self._tells_ours:
            _check_ours(ours, found)
        if any(t.host is None and t.nqn in known for t in found):
            # The same subsystem may be for another host as well.
            more = any(t.nqn not in known for t in found)
            return frozenset((SOMEBODY,)) if more else None
        return frozenset(target.host or SOMEBODY for target in found)

    # -- what is to be done --

    def report(self, volume: base.VolumeId, replica: base.ReplicaId,
               state: base.ReplicaState) -> None:
        word = _WORDS.get(state)
        if word is None:
            raise exception.ProvisionerRefused(
                f'cannot report replica {replica} as {state.value}: because '
                'that is not for a host to say')
        self._client.do(
            'PATCH', self._client.path('replica', volume, replica, word),
            f'report replica {replica} of volume {volume} as {word}')

    def request_replacement(self, volume: base.VolumeId,
                            replica: base.ReplicaId,
                            request_id: str) -> None:
        what = f'request a replacement for replica {replica}'
        asked = self._asked(request_id)
        with asked.lock, _clear_if_unsent(asked):
            self._request_once(volume, replica, what, asked)

    def _request_once(self, volume: base.VolumeId, replica: base.ReplicaId,
                      what: str, asked: '_Asked') -> None:
        stored = self._stored(volume, what)
        there = {one.replica: one.state for one in stored.locations}
        if (self._answered(asked, there)
                or (replica in there and _under_way(stored, replica))):
            LOG.info('Volume %s has a replacement for replica %s already.',
                     volume, replica)
            return
        _check(what, volume, replica, there)
        self._check_settled(what, asked)
        if there[replica] not in base.BAD_STATES:
            self.report(volume, replica, base.ReplicaState.MISSING)
        self._add_replica(volume, what, asked, frozenset(there))

    def _answered(self, asked: '_Asked', there: Iterable[str]) -> bool:
        """Whether it was lately accepted, or something has come since.

        Not for ever: what was accepted may be forgotten, and what has come
        may be another request's, or one that the first answer had left out.
        Whoever calls again has waited, and has not taken it for its own.
        """
        lately = (asked.sent_s is not None
                  and self._clock() - asked.sent_s < UNCERTAIN_S)
        return lately and (asked.accepted or asked.arrived(there))

    def _check_settled(self, what: str, asked: '_Asked') -> None:
        if (asked.sent_s is not None
                and self._clock() - asked.sent_s < UNCERTAIN_S):
            raise kumoscale_client.Uncertain(
                f'cannot {what} again yet: because the first request was '
                'sent and its answer lost, and a second could add a second '
                'replica',
                hint=f'it is sent again {UNCERTAIN_S:g} s after the first')

    def _add_replica(self, volume: base.VolumeId, what: str,
                     asked: '_Asked', there: frozenset[str]) -> None:
        before = asked.known, asked.sent_s
        asked.known = there if asked.known is None else asked.known
        asked.sent_s, asked.accepted = self._clock(), False
        try:
            self._client.do(
                'POST', self._client.path('replica', volume), what,
                once=True,
                body={'sameRackAllowed': False, 'racks': [], 'regions': [],
                      'zones': []})
        except exception.ProvisionerError as error:
            if not isinstance(error, kumoscale_client.Uncertain
                              | exception.ProvisionerNonsense):
                # Clearly refused: as if it had never been sent.
                asked.known, asked.sent_s = before
            raise
        asked.accepted = True

    def _asked(self, request_id: str) -> '_Asked':
        with self._lock:
            while len(self._requested) >= REQUESTS_MAX:
                self._requested.pop(next(iter(self._requested)))
            return self._requested.setdefault(request_id, _Asked())

    def publish(self, volume: base.VolumeId) -> None:
        self._not_ours.pop(volume, None)
        self._client.do(
            'POST', self._client.path('publish'),
            f'publish volume {volume} to this host',
            body={'hostId': self._us(), 'volId': volume},
            accept=frozenset(('AlreadyPublished',)))

    def confirm_removal(self, volume: base.VolumeId,
                        replica: base.ReplicaId) -> None:
        what = f'remove replica {replica} of volume {volume}'
        try:
            stored = self._stored(volume, what)
        except kumoscale_client.NoSuchThing:
            return
        there = {one.replica: one.state for one in stored.locations}
        doomed = there.pop(replica, None)
        if doomed is None:
            return
        if base.BAD_STATES.issuperset(there.values()):
            raise exception.ProvisionerRefused(
                f'cannot {what}: because KumoScale knows of no other good '
                'replica')
        path = self._client.path('replica', volume, replica)
        gone = kumoscale_client.GONE
        if doomed is not base.ReplicaState.TERMINATING:
            self._client.do('PATCH', path, what, accept=gone)
        self._client.do('DELETE', path, what, accept=gone)

    def _stored(self, volume: base.VolumeId, what: str) -> ks.Stored:
        answer = self._client.get(self._client.path('volumes', volume), what)
        found = ks.volumes(answer).get(volume)
        if found is None:
            raise kumoscale_client.NoSuchThing(
                f'cannot {what}: because KumoScale knows no volume {volume}')
        if found.nonsense is not None:
            raise exception.ProvisionerNonsense(found.nonsense)
        return found


@dataclasses.dataclass(slots=True, kw_only=True)
class _Asked:
    """What this process knows of one request for a replacement.

    :ivar lock: held while it is made: two threads are not two requests.
    :ivar known: the replicas that were there when it was first sent.
    :ivar sent_s: when it was sent; its answer may have been lost.
    """

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    known: frozenset[str] | None = None
    accepted: bool = False
    sent_s: float | None = None

    def arrived(self, there: Iterable[str]) -> bool:
        """Whether a replica is there that was not when it was sent."""
        return self.known is not None and not self.known.issuperset(there)


@contextlib.contextmanager
def _clear_if_unsent(asked: _Asked) -> Iterator[None]:
    """What fails before it was ever sent leaves no doubt: none is made."""
    try:
        yield
    except (exception.ProvisionerUnreachable,
            exception.ProvisionerNonsense) as error:
        if asked.sent_s is not None:
            raise
        raise exception.ProvisionerUnasked(
            error.sentence, hint=error.hint) from None


def _check(what: str, volume: base.VolumeId, replica: base.ReplicaId,
           there: Mapping[str, base.ReplicaState]) -> None:
    """Why a replica cannot be asked for now."""
    if replica not in there:
        raise kumoscale_client.NoSuchThing(
            f'cannot {what}: because volume {volume} has no such replica')
    if len(there) >= REPLICAS_MAX:
        raise exception.ProvisionerError(
            f'cannot {what}: because volume {volume} has {len(there)} '
            'replicas, as many as KumoScale allows')


def _check_host(us: str, mine: Iterable[ks.Target]) -> None:
    """An answer about somebody else: nothing of it can be believed."""
    for target in mine:
        if target.host not in (None, us):
            raise exception.ProvisionerNonsense(
                f'cannot list the targets of this host: because KumoScale '
                f'contradicts itself: it was asked for those of host {us} '
                f'and shows {target.nqn} of host {target.host}')


def _check_ours(mine: Collection[ks.Target],
                told: Iterable[ks.Target]) -> None:
    """An answer without our own targets may lack other hosts', too."""
    missing = {t.nqn for t in mine} - {t.nqn for t in told}
    if missing:
        raise exception.ProvisionerNonsense(
            f'cannot list the targets: because KumoScale contradicts itself: '
            f'{min(missing)} was among them, and is left out now')


def host_name(name: str) -> str:
    """A host's name as cinder's driver writes it.

    The same host must not appear under two names in turn.
    """
    if len(name) > 32:
        return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return name.replace('.', '-').lower()


def _names(known: Mapping[str, ks.Host], us: str,
           our_name: str) -> Mapping[str, str]:
    names = {uuid: host.name or uuid for uuid, host in known.items()}
    return {**names, us: our_name}


class _Index:
    """Targets, found by what they serve.

    A host has thousands, and each is looked for once a pass.
    """

    def __init__(self, targets: Iterable[ks.Target]) -> None:
        self._told: dict[str, list[ks.Target]] = {}
        self._silent: dict[str | None, list[ks.Target]] = {}
        for target in targets:
            if target.serves is None:
                self._silent.setdefault(target.backend, []).append(target)
            for name in target.serves or ():
                self._told.setdefault(name, []).append(target)

    def serving(self, volume: ks.Stored) -> tuple[ks.Target, ...]:
        """Those that, as far as they tell, serve one of its replicas."""
        names = [volume.id, *(one.replica for one in volume.locations)]
        homes = [None, *(one.backend for one in volume.locations)]
        found = [*(self._told.get(name, ()) for name in names),
                 *(self._silent.get(home, ()) for home in homes)]
        return tuple(dict.fromkeys(
            target for target in itertools.chain.from_iterable(found)
            if _may_serve(target, volume)))


def _may_serve(target: ks.Target, volume: ks.Stored) -> bool:
    """Whether a target, as far as it tells, serves one of the replicas."""
    return any(
        target.backend in (None, location.backend)
        and (target.serves is None
             or target.serves & {volume.id, location.replica})
        for location in volume.locations)


def _under_way(stored: ks.Stored, lost: base.ReplicaId) -> bool:
    """Whether the volume has a good replica beyond those it should have.

    ``numReplicas`` is the number that the volume should have in one reading
    of the API and the number that it has in another. In the second, only
    the state of a fresh replica tells. One that is lost is no replacement,
    even if it came as one.
    """
    others = [one.state for one in stored.locations if one.replica != lost]
    good = [state for state in others if state not in base.BAD_STATES]
    return (len(good) >= stored.replica_count
            or base.ReplicaState.SYNCHRONIZING in good)
