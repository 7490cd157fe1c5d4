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
"""One small host in which every action of this wing takes effect."""

import dataclasses
from typing import Any

from os_brick_healer.engine import verdict
from os_brick_healer.mapping import decide, laws, learn, model, remember
from os_brick_healer.mounter import base as mounter_base
from os_brick_healer.nbd import parse

KEY = '0d5fb8a0-6b9d-4c0a-9a55-6a1c1a6f3c11'
OTHER = '6f0a4f3e-6c55-4b57-8c8f-0a8f5b7b2d22'
DEVICE = 'nbd3'
SIZE = 1 << 20
POLICY = model.Policy()
ABILITIES = mounter_base.Abilities(transparent=True, can_fence=False,
                                   detects_hang=True)


def order(**changes: Any) -> mounter_base.Order:
    made = mounter_base.Order(
        volume=KEY, source={'file': '/srv/a.img'}, device=DEVICE,
        socket=f'/run/x/{KEY}.sock', reattach_s=600)
    return dataclasses.replace(made, **changes)


def mapping(**changes: Any) -> model.Mapping:
    made = model.Mapping(
        mounter='nbd', abilities=ABILITIES, order=order(), size_bytes=SIZE,
        timer_ms=1000, timer_before_ms=30000)
    return dataclasses.replace(made, **changes)


def attachment(**changes: Any) -> model.Attachment:
    made = model.Attachment(
        volume=KEY, alias='vol', state=model.AttachState.ATTACHED,
        owner_alive=False, mapping=mapping())
    return dataclasses.replace(made, **changes)


def device(**changes: Any) -> model.Device:
    made = model.Device(
        name=DEVICE, connected=True, cookie=KEY, size_bytes=SIZE,
        timer_ms=1000,
        requests=parse.Requests(completed=100, in_flight=0))
    return dataclasses.replace(made, **changes)


def server(pid: int = 100, *, stopped: bool = False) -> model.Running:
    return model.Running(pid=pid, start=str(pid * 7), stopped=stopped,
                         argv=('nbdkit', '--unix', order().socket))


def seen(**changes: Any) -> model.Seen:
    """A volume that is well, looked at in second 1000."""
    made = model.Seen(
        key=KEY, now_s=1000.0, attachment=attachment(), device=device(),
        server=server(), moved_s=1000.0)
    return dataclasses.replace(made, **changes)


def waiting(count: int = 3, for_s: float = 10.0,
            **changes: Any) -> model.Seen:
    """Requests have waited for so long, none of them ending."""
    return seen(
        device=device(requests=parse.Requests(completed=100,
                                              in_flight=count)),
        moved_s=1000.0 - for_s, **changes)


def known(**changes: Any) -> model.Memory:
    """The memory of a volume whose server has proven itself."""
    made = model.Memory(server=server().process, server_s=500.0,
                        linked_s=500.0, proven_s=501.0)
    return dataclasses.replace(made, **changes)


@dataclasses.dataclass(slots=True)
class Host:
    """A device and its server; actions and misfortunes change them.

    :ivar linked: the kernel's connection leads to the server.
    :ivar slow: the storage behind it does not answer.
    :ivar left: a request was sent, and its connection died since.
    :ivar ended: servers that ended, however.
    """

    now_s: float = 1000.0
    alive: bool = True
    stopped: bool = False
    linked: bool = True
    slow: bool = False
    left: bool = False
    busy: bool = True
    pid: int = 100
    cookie: str | None = KEY
    fails: int = 0
    fails_with: str = ''
    completed: int = 100
    moved_s: float = 1000.0
    link_dead_s: float | None = None
    unread_s: float | None = None
    unsent: bool = False
    answer: model.Answer | None = None
    attachment: model.Attachment | None = dataclasses.field(
        default_factory=attachment)
    memory: model.Memory = dataclasses.field(default_factory=model.Memory)
    did: list[str] = dataclasses.field(default_factory=list)
    served_at_once: int = 1
    timer_ms: int = 1000

    @property
    def flows(self) -> bool:
        return (self.alive and self.linked and not self.stopped
                and not self.slow)

    def tick(self, seconds: float) -> None:
        """Time passes; a busy guest's requests end, or do not."""
        self.now_s += seconds
        if self.flows or not self.busy:
            self.completed += 10
            self.moved_s = self.now_s

    def die(self) -> None:
        """The process is gone, and the kernel says so."""
        self.alive, self.stopped = False, False
        self.cut()

    def cut(self) -> None:
        """The kernel loses its connection."""
        if self.linked:
            self.linked = False
            self.link_dead_s = self.now_s

    def look(self) -> model.Seen:
        waits = self.busy and not self.flows and (self.linked or self.left)
        running = server(self.pid, stopped=self.stopped)
        return model.Seen(
            key=KEY, now_s=self.now_s, attachment=self.attachment,
            device=device(
                cookie=self.cookie, timer_ms=self.timer_ms,
                requests=parse.Requests(
                    completed=self.completed, in_flight=3 if waits else 0)),
            server=running if self.alive else None,
            link_dead_s=self.link_dead_s, unread_s=self.unread_s,
            unsent=self.unsent,
            answer=self.answer if self.alive else None,
            moved_s=self.moved_s if waits else self.now_s)

    def step(self, policy: model.Policy = POLICY) -> model.Verdict:
        """One look, and what it leads to."""
        at = self.look()
        found = decide.decide(at, self.memory, policy)
        self.memory = found.memory
        if at.stuck_s >= policy.hang_s and at.server is not None:
            self.answer = model.Answer(asked_s=self.now_s,
                                       alive=not self.stopped)
        if found.action is not None:
            self.do(found.action, policy)
        return found

    def do(self, action: model.Action, policy: model.Policy) -> None:
        """Do it as the hands do: asked by the laws on a fresh look."""
        self.did.append(type(action).__name__)
        forbidden = laws.permits(action, self.look())
        outcome = (self.effect(action) if forbidden is None else
                   verdict.Outcome(changed=False, error=forbidden))
        self.concluded(action, outcome, policy)

    def concluded(self, action: model.Action, outcome: verdict.Outcome,
                  policy: model.Policy) -> None:
        self.memory = learn.learn(
            self.memory, action, outcome, self.now_s, policy,
            server(self.pid).process if isinstance(action, model.Serve)
            and outcome.error is None else None)

    def effect(self, action: model.Action) -> verdict.Outcome:
        """What the kernel and the processes do."""
        match action:
            case model.Serve():
                assert not self.alive, 'two servers of one volume'
                if self.fails:
                    self.fails -= 1
                    return verdict.Outcome(changed=False, error='no',
                                           detail=self.fails_with)
                self.pid += 1
                self.alive, self.linked = True, True
                self.stopped, self.left, self.answer = False, False, None
                return verdict.Outcome(changed=True)
            case model.Kill():
                self.die()
                return verdict.Outcome(changed=True)
            case model.Prove():
                if self.flows:
                    return verdict.Outcome(changed=False)
                self.unread_s, self.unsent = self.now_s, not self.linked
                return verdict.Outcome(
                    changed=False, error='not read', detail=learn.UNSENT
                    if self.unsent else learn.SENT)
            case model.SetTimer():
                self.timer_ms = action.timer_ms
                return verdict.Outcome(changed=True)

    def run(self, seconds: float, policy: model.Policy = POLICY) -> None:
        """Look as often as the verdicts ask for, for so long."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            found = self.step(policy)
            again_s = 0.01 if found.action is not None else min(
                found.look_again_s, 0.5)
            self.tick(max(again_s, 0.01))

    def restart_agent(self, *, forgetful: bool = False) -> None:
        """Another agent: it has the memory (or not), and no more."""
        self.memory = model.Memory() if forgetful else remember.load(
            remember.dump(self.memory))
        self.link_dead_s = self.unread_s = self.answer = None
        self.unsent = False

    def well(self) -> bool:
        return (self.flows and decide.decide(
            self.look(), self.memory, POLICY).phase is (
                verdict.Phase.HEALTHY))
