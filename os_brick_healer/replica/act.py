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

from collections.abc import (
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
import contextlib
import dataclasses
from typing import assert_never

from os_brick_healer import exception
from os_brick_healer.engine import limits, verdict
from os_brick_healer.privileged import md as privileged_md
from os_brick_healer.privileged import nvme as privileged_nvme
from os_brick_healer.provisioner import base
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import (
    doubt,
    learn,
    model,
    probe,
    recheck,
    tools,
)

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

Settings = tools.Settings


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Does actions, one per call; safe to be used by several threads.

    :ivar settings: read anew for each action, so that a reload counts.
    :ivar provisioner: None as long as there is none to ask.
    :ivar ours: names of the controllers that lead to volumes of ours.
    :ivar permits: the sentence of the law that forbids, or None.
    :ivar together: makes calls that wait, all at the same time.
    """

    settings: Callable[[], tools.Settings]
    provisioner: Callable[[], base.Provisioner | None]
    host_nqn: Callable[[], str]
    permits: Permits
    locks: tools.Locks
    ours: Callable[[], frozenset[str]] = frozenset
    md: tools.Md = privileged_md
    nvme: tools.Nvme = privileged_nvme
    probe_now: tools.ProbeNow = probe.probe_now
    together: tools.Together = tools.together

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
        owner = self._owner()
        try:
            owner.request_replacement(action.volume, action.replica,
                                      action.request_id)
        except exception.ProvisionerUnasked:
            raise           # it was not heard
        except (exception.ProvisionerUnreachable,
                exception.ProvisionerNonsense) as error:
            if owner.guarantees.idempotent_replacement:
                raise       # the same request once more yields nothing new
            return Outcome(changed=False, error=str(error),
                           transient=error.transient,
                           detail=learn.UNCERTAIN)
        return Outcome(changed=True)

    def _confirm_removal(self, action: model.ConfirmRemoval,
                         fresh: Fresh) -> Outcome:
        seen = self._named_now(fresh)()
        # The kernel calls a silent leg live until its keep-alive has run out.
        seen = self._probed(seen, [key for key in seen.namespaces
                                   if case_lib.in_sync(seen, key)])
        self._check(action, seen)
        array = recheck.same_array(action.array, action.array_uuid, seen)
        # Law 3, said here once more because it cannot be taken back.
        in_sync = sum(1 for x in array.members if x.in_sync)
        heir = (None if action.successor is None
                else case_lib.member_of(seen, action.successor))
        succeeded = (heir is not None and heir.in_sync
                     and in_sync >= limits.COPIES_MIN)
        if not succeeded and (array.degraded or in_sync < array.raid_disks):
            raise recheck.Refused(
                f'cannot let replica {action.replica} go: {array.name} is '
                'not whole')
        if case_lib.member_of(seen, action.replica) is not None:
            raise recheck.Refused(
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
        peers = doubt.peers(volume, owner.host.name)

        def look() -> model.Seen:
            now = fresh()
            # That one answer leaves a host out does not say that it has gone.
            return dataclasses.replace(
                now, volume=volume, volume_age_s=0.0,
                provisioner_error=None, peers_hold=now.peers_hold or peers)

        return look

    def _check(self, action: model.Action, seen: model.Seen) -> None:
        sentence = self.permits(action, seen)
        if sentence is not None:
            raise recheck.Refused(f'cannot {action.sentence()}: {sentence}')

    # Keeping I/O flowing ----------------------------------------------------

    def _clear_failfast(self, action: model.ClearFailfast,
                        fresh: Fresh) -> Outcome:
        seen = fresh()
        self._check(action, seen)
        array = recheck.same_array(action.array, action.array_uuid, seen)
        changed = self.md.clear_failfast(
            array=array.name, array_uuid=array.uuid, device=action.device)
        return Outcome(changed=changed)

    def _cut_silent(self, action: model.CutSilent, fresh: Fresh) -> Outcome:
        """Neither members nor controllers change: no lock is needed."""
        seen = self._proven(action, fresh())
        self._check(action, seen)
        recheck.same_array(action.array, action.array_uuid, seen)
        meant = {path.controller for path in action.paths}
        silent = tuple(path for path in recheck.now(seen, action.replica)
                       if path.state is model.PathState.LIVE
                       and path.controller in meant)
        for path in silent:
            if not path.silent_for_s:
                raise recheck.Refused(f'cannot cut {path.controller}: '
                                      f'{path.portal} is not silent')
        recheck.need_survivor(action, seen, min(
            (path.silent_for_s or 0.0 for path in silent), default=0.0))
        return Outcome(changed=bool(silent), detail=', '.join(
            self._cut_one(path) for path in silent))

    def _cut_one(self, path: model.Path) -> str:
        count = self.nvme.cut(
            controller=path.controller, nqn=path.nqn,
            address=path.portal.address, port=path.portal.port,
            ours=tuple(sorted(self.ours())), timeout_s=CUT_S)
        return f'{count} connections to {path.portal} cut'

    def _break_leg(self, action: model.BreakLeg, fresh: Fresh) -> Outcome:
        with self._flow_locks(fresh()) as note:
            looked = fresh()
            seen = self._proven(action, looked, recheck.relied_on(
                looked, action.replica))
            self._check(action, seen)
            recheck.same_array(action.array, action.array_uuid, seen)
            member = case_lib.member_of(seen, action.replica)
            if member is None or member.device != action.device:
                return Outcome(changed=False,
                               detail=f'{action.device} is out already')
            paths = recheck.now(seen, action.replica)
            for path in paths:
                recheck.refuse_live(path)
            recheck.need_survivor(action, seen, min(
                (path.state_for_s for path in paths), default=0.0))
            recheck.need_others(action, seen)
            return self._delete(paths, action.device, idle=False, note=note,
                                spare=seen.spare.get(action.replica))

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
                seen: model.Seen, others: frozenset[model.Portal]
                = frozenset()) -> model.Seen:
        """The same look, with what the survivors' portals say right now.

        :param others: further portals, each of which is waited for.
        """
        return self._probed(seen, action.survivors, others,
                            one_is_enough=not others)

    def _probed(self, seen: model.Seen, legs: Collection[model.ReplicaId],
                others: frozenset[model.Portal] = frozenset(), *,
                one_is_enough: bool = False) -> model.Seen:
        """The same look, with what these legs' portals say right now."""
        portals = others.union(
            path.portal for key in legs for path in seen.paths.get(key, ())
            if path.state is model.PathState.LIVE)
        answers = self.probe_now(tuple(portals), deadline_s=PROBE_S,
                                 one_is_enough=one_is_enough)
        paths = {
            key: tuple(recheck.answered(path, answers) for path in paths)
            if key in legs else paths
            for key, paths in seen.paths.items()}
        return dataclasses.replace(
            seen, paths=paths, answers={**seen.answers, **answers})

    def _delete(self, paths: Sequence[model.Path], device: str | None, *,
                idle: bool, note: str = '',
                spare: Mapping[str, str] | None = None) -> Outcome:
        """At once: in silence each waits for its own reconnect attempt."""
        def delete(path: model.Path) -> bool:
            return self.nvme.delete_controller(
                controller=path.controller, nqn=path.nqn,
                address=path.portal.address, port=path.portal.port,
                device=device, idle=idle, timeout_s=DELETE_S,
                spare=dict(spare or {}))

        gone = self.together(delete, paths)
        waiting = [path.controller for path, done in zip(
            paths, gone, strict=True) if not done]
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
            array = recheck.same_array(action.array, action.array_uuid, seen)
            found = [member for member in array.members
                     if member.device == action.device]
            if not found:
                return Outcome(changed=False)
            if 'faulty' not in found[0].flags:
                raise recheck.Refused(f'cannot remove {action.device} from '
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
            raise recheck.Refused(
                f'cannot {action.sentence()}: no portal answers')
        with self._locked(action, fresh) as seen:
            replica = recheck.named(seen, action.replica)
            if replica.nqn != action.nqn:
                raise recheck.Refused(
                    f'cannot connect {action.nqn}: replica {replica.id} is '
                    f'now at {replica.nqn}')
            names = [self._connect_one(action.nqn, portal)
                     for portal in portals if portal in replica.portals]
        if not names:
            raise recheck.Refused(f'cannot {action.sentence()}: the '
                                  'provisioner names other portals now')
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
        nqn, uuid = recheck.identity(seen, action.replica, action.device)
        timeout_s = self.settings().command_timeout_s
        found = self.md.examine(device=action.device, nqn=nqn,
                                namespace_uuid=uuid, timeout_s=timeout_s)
        owner = found.get('MD_UUID')
        if owner is not None and recheck.same_uuid(owner, action.array_uuid):
            return Outcome(changed=False, detail=model.Superblock.OURS.value)
        if owner is not None:
            return recheck.foreign(f'a superblock of array {owner}')
        signatures = self.md.signatures(
            device=action.device, nqn=nqn, namespace_uuid=uuid,
            timeout_s=timeout_s)
        if signatures:
            return recheck.foreign(', '.join(signatures))
        return Outcome(changed=False, detail=model.Superblock.BLANK.value)

    def _re_add(self, action: model.ReAdd, fresh: Fresh) -> Outcome:
        with self._locked(action, fresh) as seen:
            array = recheck.free_slot(action.array, action.array_uuid, seen)
            # MISSING is what we ourselves reported when it was lost: MD
            # copies what it missed, AVAILABLE is reported after that.
            recheck.refuse_states(seen, action.replica,
                                  frozenset((model.ReplicaState.TERMINATING,)))
            nqn, uuid = recheck.identity(seen, action.replica, action.device)
            return Outcome(changed=self.md.re_add(
                array=array.name, array_uuid=array.uuid,
                device=action.device, nqn=nqn, namespace_uuid=uuid,
                timeout_s=self.settings().command_timeout_s))

    def _add_spare(self, action: model.AddSpare, fresh: Fresh) -> Outcome:
        with self._locked(action, self._named_now(fresh)) as seen:
            array = recheck.free_slot(action.array, action.array_uuid, seen)
            # A former leg is one that we reported MISSING; a new one that
            # is MISSING is sick before it has begun.
            bad = (frozenset((model.ReplicaState.TERMINATING,))
                   if action.former else base.BAD_STATES)
            recheck.refuse_states(seen, action.replica, bad)
            nqn, uuid = recheck.identity(seen, action.replica, action.device)
            return Outcome(changed=self.md.add_spare(
                array=array.name, array_uuid=array.uuid,
                device=action.device, nqn=nqn, namespace_uuid=uuid,
                min_size_bytes=array.component_bytes, former=action.former,
                timeout_s=self.settings().command_timeout_s))

    def _disconnect_paths(self, action: model.DisconnectPaths,
                          fresh: Fresh) -> Outcome:
        with self._locked(action, fresh) as seen:
            former = seen.former.get(action.replica)
            if former is not None:
                return self._delete(former.paths, former.device, idle=True)
            namespace = seen.namespaces.get(action.replica)
            if namespace is not None and namespace.holders:
                raise recheck.Refused(
                    f'cannot {action.sentence()}: {namespace.device} is '
                    f'held by {", ".join(namespace.holders)}')
            return self._delete(
                recheck.now(seen, action.replica),
                None if namespace is None else namespace.device, idle=True)
