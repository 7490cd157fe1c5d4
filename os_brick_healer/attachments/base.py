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
"""What a source of attachments is: who knows what this host has attached.

The journal is one, and the one that counts: connectors write it on this very
host. An API far away (Cinder, Kubernetes) is asked to confirm it, and to name
what it lacks. It never decides: a source that cannot be reached, or that says
something else, is told of, and nothing is healed away or let go for it.
"""

import abc
from collections.abc import Mapping
import dataclasses
import enum
from typing import ClassVar, TYPE_CHECKING
import uuid

from os_brick_healer import exception

if TYPE_CHECKING:  # at run time pure rooms import this
    from oslo_config import cfg

#: A volume's id is at most so long; also a cookie of the kernel's.
VOLUME_CHARACTERS_MAX = 128
#: A host has no more attachments than that: the answer is nonsense.
ATTACHMENTS_MAX = 16384


class State(enum.Enum):
    """How far an attachment is, in the words of the source."""

    ATTACHED = 'attached'
    #: It is just being attached or detached.
    CHANGING = 'changing'


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A volume that is attached to this host.

    :ivar volume: its id, as the cookie of its device has it.
    :ivar alias: what people call it.
    :ivar names: what of its data the source names, in the words of the
        mounter: ``pool``, ``namespace``, ``image``; nothing it does not
        know, and never a secret.
    :ivar served: a process of this host is to serve it (True), or it may be
        attached in another way (None): QEMU opens an image itself.
    """

    volume: str
    alias: str
    state: State
    names: Mapping[str, str]
    served: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One answer.

    :ivar here: every attachment of this host, by its volume.
    :ivar elsewhere: of the volumes that were asked about and are not here:
        the hosts that have them attached, if the source is sure that nobody
        is at work on them.
    """

    here: Mapping[str, Attached]
    elsewhere: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Guarantees:
    """What a source declares; the conformance suite holds it to them.

    :ivar authoritative: it is written on this host by who attaches: what it
        says is acted on.
    :ivar knows_hosts: it tells of volumes that other hosts have attached.
    :ivar knows_images: it names the data of what is attached.
    """

    authoritative: bool
    knows_hosts: bool
    knows_images: bool


class AttachmentSource(abc.ABC):
    """Access to one source. Thread-safe; every call has a deadline.

    Every method raises SourceError (or a subclass), nothing else, for
    whatever goes wrong outside this process, and is safe to call again. An
    answer that was not heard to its end is an error, never a shorter one.

    :param host: what nova, or kubelet, calls this host.
    """

    guarantees: ClassVar[Guarantees]
    #: Each of them may cost a question of its own.
    attachments_max: int = ATTACHMENTS_MAX

    def __init__(self, conf: 'cfg.ConfigOpts', host: str) -> None:
        self.conf = conf
        self.host = host

    @abc.abstractmethod
    def probe(self) -> str:
        """Check access. One sentence about the source, for the operator;
        never a secret."""

    @abc.abstractmethod
    def listing(self, about: frozenset[str]) -> Listing:
        """What this host has attached now, fresh.

        :param about: volumes of which it is asked whether others have them.
        """

    @abc.abstractmethod
    def concerns(self, volume: str, mounter: str) -> bool:
        """Whether this source would know a volume that is mapped here."""

    def must_be_possible(self, count: int) -> None:
        """Whether one host can have so many attachments.

        :raises SourceNonsense: it cannot.
        """
        if count > self.attachments_max:
            raise exception.SourceNonsense(
                f'cannot use this answer: because it has {count} attachments '
                'of one host')

    def close(self) -> None:
        """Give back connections. The default holds none."""
        return


def volume_id(text: object) -> str:
    """A volume's id as sources give it.

    :raises SourceNonsense: it is none.
    """
    if (isinstance(text, str) and 0 < len(text) <= VOLUME_CHARACTERS_MAX
            and text.isprintable() and text.isascii() and ' ' not in text):
        return text
    raise exception.SourceNonsense(
        f'cannot use this answer: because {str(text)[:80]!r} is no id of a '
        'volume')


def is_uuid(text: str) -> bool:
    """Whether an id is a uuid, as Cinder writes it."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
