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
"""The only hands of the replica wing.

An action was decided from a look that is some moments old. Before it is
done the world is read again, the laws are asked again, and what the action
names must still be the same thing. Then it is done, by a privileged entry
point that verifies once more, or by the provisioner.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
from typing import assert_never, Protocol

from oslo_config import cfg

from os_brick_healer import exception
from os_brick_healer.conf import opts, policy
from os_brick_healer.engine import verdict
from os_brick_healer.privileged import md as privileged_md
from os_brick_healer.privileged import nvme as privileged_nvme
from os_brick_healer.provisioner import base
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import learn, model, probe

Outcome = verdict.Outcome
Fresh = Callable[[], model.Seen]
Permits = Callable[[model.Action, model.Seen], str | None]

#: Outcome.detail of a re-add that MD refuses for good: a full copy is next.
READD_REFUSED = learn.READD_REFUSED
#: Older words of the provisioner are asked for again before a device joins
#: an array for a full copy, or a replica is deleted.
NAMED_AGE_S_MAX = 5.0
#: A held lock is waited for no longer while a guest's I/O hangs on it.
FLOW_LOCK_S = 1.0
#: A deletion goes on in the kernel; it is watched no longer than this.
DELETE_S = 5.0
CUT_S = 3.0
PROBE_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the hands need of the configuration; seconds."""

    command_timeout_s: float
    lock_timeout_s: float
    keep_alive_s: int
    reconnect_delay_s: int

    @classmethod
    def read(cls, conf: cfg.ConfigOpts) -> 'Settings':
        group = conf[opts.GROUP]
        return cls(
            command_timeout_s=group.command_timeout,
            lock_timeout_s=group.lock_timeout,
            keep_alive_s=policy.profile(conf).keep_alive_s,
            reconnect_delay_s=group.reconnect_delay)


class Md(Protocol):
    """What :mod:`os_brick_healer.privileged.md` offers."""

    def clear_failfast(self, *, array: str, array_uuid: str, device: str,
                       timeout_s: float = ...) -> bool: ...

    def remove(self, *, array: str, array_uuid: str, device: str,
               timeout_s: float) -> bool: ...

    def re_add(self, *, array: str, array_uuid: str, device: str, nqn: str,
               namespace_uuid: str, timeout_s: float) -> bool: ...

    def add_spare(self, *, array: str, array_uuid: str, device: str,
                  nqn: str, namespace_uuid: str, min_size_bytes: int,
                  former: bool, timeout_s: float) -> bool: ...

    def examine(self, *, device: str, nqn: str, namespace_uuid: str,
                timeout_s: float) -> dict[str, str]: ...

    def signatures(self, *, device: str, nqn: str, namespace_uuid: str,
                   timeout_s: float) -> tuple[str, ...]: ...


class Nvme(Protocol):
    """What :mod:`os_brick_healer.privileged.nvme` offers to the hands."""

    def connect(self, *, nqn: str, address: str, port: int, transport: str,
                host_nqn: str, keep_alive_s: int, reconnect_delay_s: int,
                timeout_s: float) -> str: ...

    def delete_controller(self, *, controller: str, nqn: str, address: str,
                          port: int, device: str | None, idle: bool,
                          timeout_s: float) -> bool: ...

    def cut(self, *, controller: str, nqn: str, address: str, port: int,
            timeout_s: float) -> int: ...


class Locks(Protocol):
    """os-brick's two locks; raises LocksBusy."""

    def hold(self, timeout_s: float
             ) -> contextlib.AbstractContextManager[None]: ...


class ProbeNow(Protocol):
    """Fresh answers of portals; see :func:`probe.probe_now`."""

    def __call__(self, portals: Sequence[model.Portal], *,
                 deadline_s: float, one_is_enough: bool
                 ) -> Mapping[model.Portal, bool]: ...


class Refused(exception.HealerError):
    """The world is no longer what the action was decided for."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Does actions, one per call; safe to be used by several threads.

    :ivar settings: read anew for each action, so that a reload counts.
    :ivar provisioner: None as long as there is none to ask.
    :ivar permits: the sentence of the law that forbids, or None.
    """

    settings: Callable[[], Settings]
    provisioner: Callable[[], base.Provisioner | None]
    host_nqn: Callable[[], str]
    permits: Permits
    locks: Locks
    md: Md = privileged_md
    nvme: Nvme = privileged_nvme
    probe_now: ProbeNow = probe.probe_now

    def do(self, action: model.Action, fresh: Fresh) -> Outcome:
        """Do it, or say why not. Expected failures never raise."""
        try:
            return self._do(action, fresh)
        except exception.ReAddRefused as error:
            return Outcome(changed=False, error=str(error), transient=False,
                           detail=READD_REFUSED)
        except exception.HealerError as error:
            return Outcome(changed=False, error=str(error),
                           transient=error.transient)

    def _do(self, action: model.Action, fresh: Fresh) -> Outcome:
        match action:
            case model.ReportState():
                return self._report_state(action, fresh)
            case model.Publish():
                return self._publish(action, fresh)
            case model.ClearFailfast():
                return self._clear_failfast(action, fresh)
            case model.CutSilent():
                return self._cut_silent(action, fresh)
            case model.BreakLeg():
                return self._break_leg(action, fresh)
            case model.DropFaulty():
                return self._drop_faulty(action, fresh)
            case model.ConnectReplica():
                return self._connect_replica(action, fresh)
            case model.Examine():
                return self._examine(action, fresh)
            case model.ReAdd():
                return self._re_add(action, fresh)
            case model.AddSpare():
                return self._add_spare(action, fresh)
            case model.RequestReplacement():
                return self._request_replacement(action, fresh)
            case model.ConfirmRemoval():
                return self._confirm_removal(action, fresh)
            case model.DisconnectPaths():
                return self._disconnect_paths(action, fresh)
            case _:
                assert_never(action)

    # The provisioner: no lock of os-brick's is held meanwhile -------------

    def _report_state(self, action: model.ReportState,
                      fresh: Fresh) -> Outcome:
        self._check(action, fresh())
        self._owner().report(action.volume, action.replica, action.state)
        return Outcome(changed=True)

    def _publish(self, action: model.Publish, fresh: Fresh) -> Outcome:
        self._check(action, fresh())
        self._owner().publish(action.volume)
        return Outcome(changed=True)

    def _request_replacement(self, action: model.RequestReplacement,
                             fresh: Fresh) -> Outcome:
        self._check(action, fresh())
        self._owner().request_replacement(action.volume, action.replica,
                                          action.request_id)
        return Outcome(changed=True)

    def _confirm_removal(self, action: model.ConfirmRemoval,
                         fresh: Fresh) -> Outcome:
        seen = self._named_now(fresh)()
        self._check(action, seen)
        array = _same_array(action.array, action.array_uuid, seen)
        # Law 3, said here once more because it cannot be taken back.
        in_sync = sum(1 for x in array.members if x.in_sync)
        if array.degraded or in_sync < array.raid_disks:
            raise Refused(
                f'cannot let replica {action.replica} go: {array.name} is '
                'not whole')
        if case_lib.member_of(seen, action.replica) is not None:
            raise Refused(
                f'cannot let replica {action.replica} go: it is a leg of '
                f'{array.name}')
        self._owner().confirm_removal(action.volume, action.replica)
        return Outcome(changed=True)

    def _owner(self) -> base.Provisioner:
        owner = self.provisioner()
        if owner is None:
            raise exception.ProvisionerUnreachable(
                'cannot ask the provisioner: there is none yet')
        return owner

    def _named_now(self, fresh: Fresh) -> Fresh:
        """A look whose volume is the provisioner's present word."""
        seen = fresh()
        if (seen.volume_age_s is not None
                and seen.volume_age_s <= NAMED_AGE_S_MAX
                and seen.provisioner_error is None):
            return fresh
        owner = self._owner()
        volume = owner.volumes().get(seen.key)
        peers = (None if volume is None or volume.hosts is None
                 else volume.hosts - {owner.host.name})

        def look() -> model.Seen:
            return dataclasses.replace(
                fresh(), volume=volume, volume_age_s=0.0,
                provisioner_error=None, peers_hold=peers)

        return look

    def _check(self, action: model.Action, seen: model.Seen) -> None:
        sentence = self.permits(action, seen)
        if sentence is not None:
            raise Refused(f'cannot {action.sentence()}: {sentence}')

    # Keeping I/O flowing ----------------------------------------------------

    def _clear_failfast(self, action: model.ClearFailfast,
                        fresh: Fresh) -> Outcome:
        seen = fresh()
        self._check(action, seen)
        array = _same_array(action.array, action.array_uuid, seen)
        changed = self.md.clear_failfast(
            array=array.name, array_uuid=array.uuid, device=action.device)
        return Outcome(changed=changed)

    def _cut_silent(self, action: model.CutSilent, fresh: Fresh) -> Outcome:
        """Neither members nor controllers change: no lock is needed."""
        seen = self._proven(action, fresh())
        self._check(action, seen)
        _same_array(action.array, action.array_uuid, seen)
        silent = tuple(path for path in _now(seen, action.replica)
                       if path.state is model.PathState.LIVE)
        for path in silent:
            if not path.silent_for_s:
                raise Refused(f'cannot cut {path.controller}: '
                              f'{path.portal} is not silent')
        self._need_survivor(action, seen, min(
            (path.silent_for_s or 0.0 for path in silent), default=0.0))
        return Outcome(changed=bool(silent), detail=', '.join(
            self._cut_one(path) for path in silent))

    def _cut_one(self, path: model.Path) -> str:
        count = self.nvme.cut(
            controller=path.controller, nqn=path.nqn,
            address=path.portal.address, port=path.portal.port,
            timeout_s=CUT_S)
        return f'{count} connections to {path.portal} cut'

    def _break_leg(self, action: model.BreakLeg, fresh: Fresh) -> Outcome:
        with self._flow_locks(fresh()) as note:
            seen = self._proven(action, fresh())
            self._check(action, seen)
            _same_array(action.array, action.array_uuid, seen)
            member = case_lib.member_of(seen, action.replica)
            if member is None or member.device != action.device:
                return Outcome(changed=False,
                               detail=f'{action.device} is out already')
            paths = _now(seen, action.replica)
            for path in paths:
                _refuse_live(path)
            self._need_survivor(action, seen, min(
                (path.state_for_s for path in paths), default=0.0))
            return self._delete(paths, action.device, idle=False, note=note)

    @contextlib.contextmanager
    def _flow_locks(self, seen: model.Seen) -> Iterator[str]:
        """The locks; or none, when only another volume can hold them.

        os-brick's locks are for the whole host. Where the connector wrote
        down that this volume is attached, whoever holds them is busy with
        another one, and this guest's I/O does not wait for that.
        """
        attached = (seen.attachment is not None and seen.attachment.state
                    is model.AttachState.ATTACHED)
        wait_s = self.settings().lock_timeout_s
        with contextlib.ExitStack() as held:
            note = ''
            try:
                held.enter_context(self.locks.hold(
                    min(wait_s, FLOW_LOCK_S) if attached else wait_s))
            except exception.HealerError as error:
                if not attached:
                    raise
                note = f'done without os-brick\'s locks: {error}'
            yield note

    def _proven(self, action: model.BreakLeg | model.CutSilent,
                seen: model.Seen) -> model.Seen:
        """The same look, with what the survivors' portals say right now."""
        portals = tuple({
            path.portal for survivor in action.survivors
            for path in seen.paths.get(survivor, ())
            if path.state is model.PathState.LIVE})
        answers = self.probe_now(portals, deadline_s=PROBE_S,
                                 one_is_enough=True)
        paths = {
            key: tuple(_answered(path, answers) for path in paths)
            if key in action.survivors else paths
            for key, paths in seen.paths.items()}
        return dataclasses.replace(
            seen, paths=paths, answers={**seen.answers, **answers})

    def _need_survivor(self, action: model.BreakLeg | model.CutSilent,
                       seen: model.Seen, lost_for_s: float) -> None:
        """Law 1 and 7: an in-sync leg that is proven live at this moment."""
        for survivor in action.survivors:
            if survivor == action.replica or seen.volume is None:
                continue
            for replica in seen.volume.replicas:
                if replica.id == survivor:
                    leg = _leg(seen, replica)
                    if leg.in_sync and leg.proves_live(lost_for_s):
                        return
        raise Refused(f'cannot {action.sentence()}: no other in-sync leg is '
                      'proven live')

    def _delete(self, paths: Sequence[model.Path], device: str | None, *,
                idle: bool, note: str = '') -> Outcome:
        waiting = [
            path.controller for path in paths
            if not self.nvme.delete_controller(
                controller=path.controller, nqn=path.nqn,
                address=path.portal.address, port=path.portal.port,
                device=device, idle=idle, timeout_s=DELETE_S)]
        if waiting:
            return Outcome(
                changed=True, detail=note,
                error=f'the kernel is still deleting {", ".join(waiting)}')
        return Outcome(changed=bool(paths), detail=note)

    # Membership and controllers: under os-brick's locks ----------------------

    @contextlib.contextmanager
    def _locked(self, action: model.Action,
                fresh: Fresh) -> Iterator[model.Seen]:
        """Both locks held, the world read, the laws asked."""
        with self.locks.hold(self.settings().lock_timeout_s):
            seen = fresh()
            self._check(action, seen)
            yield seen

    def _drop_faulty(self, action: model.DropFaulty,
                     fresh: Fresh) -> Outcome:
        with self._locked(action, fresh) as seen:
            array = _same_array(action.array, action.array_uuid, seen)
            found = [member for member in array.members
                     if member.device == action.device]
            if not found:
                return Outcome(changed=False)
            if 'faulty' not in found[0].flags:
                raise Refused(f'cannot remove {action.device} from '
                              f'{array.name}: it is not faulty')
            return Outcome(changed=self.md.remove(
                array=array.name, array_uuid=array.uuid,
                device=action.device,
                timeout_s=self.settings().command_timeout_s))

    def _connect_replica(self, action: model.ConnectReplica,
                         fresh: Fresh) -> Outcome:
        # A connect to a silent portal blocks in the kernel; it would do so
        # while nova's attach waits for the lock. So knock first.
        answers = self.probe_now(action.portals, deadline_s=PROBE_S,
                                 one_is_enough=False)
        portals = tuple(portal for portal in action.portals
                        if answers.get(portal, True))
        if not portals:
            raise Refused(f'cannot {action.sentence()}: no portal answers')
        with self._locked(action, fresh) as seen:
            replica = _named(seen, action.replica)
            if replica.nqn != action.nqn:
                raise Refused(
                    f'cannot connect {action.nqn}: replica {replica.id} is '
                    f'now at {replica.nqn}')
            names = [self._connect_one(action.nqn, portal)
                     for portal in portals if portal in replica.portals]
        if not names:
            raise Refused(f'cannot {action.sentence()}: the provisioner '
                          'names other portals now')
        return Outcome(changed=True, detail=', '.join(names))

    def _connect_one(self, nqn: str, portal: model.Portal) -> str:
        settings = self.settings()
        return self.nvme.connect(
            nqn=nqn, address=portal.address, port=portal.port,
            transport=portal.transport, host_nqn=self.host_nqn(),
            keep_alive_s=settings.keep_alive_s,
            reconnect_delay_s=settings.reconnect_delay_s,
            timeout_s=settings.command_timeout_s)

    def _examine(self, action: model.Examine, fresh: Fresh) -> Outcome:
        seen = fresh()
        self._check(action, seen)
        nqn, uuid = _identity(seen, action.replica, action.device)
        timeout_s = self.settings().command_timeout_s
        found = self.md.examine(device=action.device, nqn=nqn,
                                namespace_uuid=uuid, timeout_s=timeout_s)
        owner = found.get('MD_UUID')
        if owner is not None and _plain(owner) == _plain(action.array_uuid):
            return Outcome(changed=False, detail=model.Superblock.OURS.value)
        if owner is not None:
            return _foreign(f'a superblock of array {owner}')
        signatures = self.md.signatures(
            device=action.device, nqn=nqn, namespace_uuid=uuid,
            timeout_s=timeout_s)
        if signatures:
            return _foreign(', '.join(signatures))
        return Outcome(changed=False, detail=model.Superblock.BLANK.value)

    def _re_add(self, action: model.ReAdd, fresh: Fresh) -> Outcome:
        with self._locked(action, fresh) as seen:
            array = _free_slot(action.array, action.array_uuid, seen)
            # MISSING is what we ourselves reported when it was lost: MD
            # copies what it missed, AVAILABLE is reported after that.
            _refuse_states(seen, action.replica,
                           frozenset((model.ReplicaState.TERMINATING,)))
            nqn, uuid = _identity(seen, action.replica, action.device)
            return Outcome(changed=self.md.re_add(
                array=array.name, array_uuid=array.uuid,
                device=action.device, nqn=nqn, namespace_uuid=uuid,
                timeout_s=self.settings().command_timeout_s))

    def _add_spare(self, action: model.AddSpare, fresh: Fresh) -> Outcome:
        with self._locked(action, self._named_now(fresh)) as seen:
            array = _free_slot(action.array, action.array_uuid, seen)
            # A former leg is one that we reported MISSING; a new one that
            # is MISSING is sick before it has begun.
            bad = (frozenset((model.ReplicaState.TERMINATING,))
                   if action.former else base.BAD_STATES)
            _refuse_states(seen, action.replica, bad)
            nqn, uuid = _identity(seen, action.replica, action.device)
            return Outcome(changed=self.md.add_spare(
                array=array.name, array_uuid=array.uuid,
                device=action.device, nqn=nqn, namespace_uuid=uuid,
                min_size_bytes=array.component_bytes, former=action.former,
                timeout_s=self.settings().command_timeout_s))

    def _disconnect_paths(self, action: model.DisconnectPaths,
                          fresh: Fresh) -> Outcome:
        with self._locked(action, fresh) as seen:
            namespace = seen.namespaces.get(action.replica)
            if namespace is not None and namespace.holders:
                raise Refused(
                    f'cannot {action.sentence()}: {namespace.device} is '
                    f'held by {", ".join(namespace.holders)}')
            return self._delete(
                _now(seen, action.replica),
                None if namespace is None else namespace.device, idle=True)


def _answered(path: model.Path,
              answers: Mapping[model.Portal, bool]) -> model.Path:
    """A path with a fresh probe's word; without one, with no word at all.

    What an older probe said proves nothing about this moment.
    """
    answer = answers.get(path.portal)
    return dataclasses.replace(path, portal_answers=answer)


def _now(seen: model.Seen,
         replica: model.ReplicaId) -> tuple[model.Path, ...]:
    return seen.paths.get(replica, ())


def _leg(seen: model.Seen, replica: model.Replica) -> case_lib.Leg:
    return case_lib.Leg(
        replica=replica, member=case_lib.member_of(seen, replica.id),
        namespace=seen.namespaces.get(replica.id),
        paths=_now(seen, replica.id), memory=model.ReplicaMemory(),
        portal_answers=None)


def _same_array(name: str, uuid: str, seen: model.Seen) -> model.Array:
    """The array that the action was decided for, under its present name."""
    array = seen.array
    if array is None or array.uuid != uuid:
        raise Refused(f'cannot touch {name}: the array {uuid} is gone')
    return array


def _free_slot(name: str, uuid: str, seen: model.Seen) -> model.Array:
    """The same array, with a slot that wants a leg.

    MD refuses a re-add to a whole array in the very words with which it
    refuses a leg that is too old; and a spare in it would lie idle.
    """
    array = _same_array(name, uuid, seen)
    if array.degraded == 0:
        raise Refused(f'cannot add to {array.name}: no leg is missing')
    return array


def _named(seen: model.Seen, replica: model.ReplicaId) -> model.Replica:
    """A replica as the provisioner names it now; law 2."""
    if seen.volume is None or seen.volume.nonsense is not None:
        raise Refused(f'cannot use replica {replica}: the provisioner does '
                      'not name its volume')
    for found in seen.volume.replicas:
        if found.id == replica:
            return found
    raise Refused(f'cannot use replica {replica}: the provisioner does not '
                  'name it any more')


def _refuse_states(seen: model.Seen, replica: model.Replica,
                   bad: frozenset[model.ReplicaState]) -> None:
    state = _named(seen, replica.id).state
    if state in bad:
        raise Refused(f'cannot use replica {replica.id}: the provisioner '
                      f'calls it {state.value}')


def _identity(seen: model.Seen, replica: model.Replica,
              device: str) -> tuple[str, str]:
    """NQN and uuid that prove a device to be this replica; law 2."""
    named = _named(seen, replica.id)
    if named.nqn is None or named.namespace_uuid is None:
        raise Refused(f'cannot use {device}: the provisioner does not say '
                      f'which namespace replica {replica.id} is')
    if (named.nqn, named.namespace_uuid) != (replica.nqn,
                                             replica.namespace_uuid):
        raise Refused(f'cannot use {device}: the provisioner names another '
                      f'namespace for replica {replica.id} now')
    namespace = seen.namespaces.get(replica.id)
    if namespace is None or namespace.device != device:
        raise Refused(f'cannot use {device}: it is not replica {replica.id} '
                      'any more')
    return named.nqn, named.namespace_uuid


def _refuse_live(path: model.Path) -> None:
    """Deleting a live controller in silence takes 30 s (measured)."""
    if path.state is model.PathState.LIVE:
        raise Refused(f'cannot delete {path.controller}: it is live')


def _foreign(what: str) -> Outcome:
    return Outcome(changed=False,
                   detail=f'{model.Superblock.FOREIGN.value}: {what}')


def _plain(uuid: str) -> str:
    """sysfs writes hyphens and mdadm colons, over the same digits."""
    return uuid.replace(':', '').replace('-', '').lower()
