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
"""What a source of attachments says, beside what the journal says. Pure.

The journal decides. What another source says is told, and one thing alone
holds a heal back: that a volume is attached to another host, and not here.
"""

from collections.abc import Collection, Mapping
import dataclasses

from os_brick_healer.attachments import base


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A volume that is attached, by the journal.

    :ivar source: the words of the mounter that name its data.
    :ivar concerned: whether the source would know this volume.
    """

    source: Mapping[str, str]
    concerned: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an answer comes to.

    :ivar elsewhere: volumes of the journal that others have, and this host
        has not: a sentence for each.
    :ivar doubts: volumes of the journal of which it says something else.
    :ivar lacking: what is attached here and the journal lacks.
    """

    elsewhere: Mapping[str, str]
    doubts: Mapping[str, str]
    lacking: Mapping[str, base.Attached]


def compare(name: str, listing: base.Listing, known: Mapping[str, Known],
            written: frozenset[str]) -> Said:
    """An answer beside the journal.

    :param name: of the source.
    :param known: what is attached by the journal, for certain.
    :param written: everything in the journal, however far it is.
    """
    doubts = {}
    for volume, mine in known.items():
        sentence = _doubt(name, volume, mine, listing)
        if sentence is not None:
            doubts[volume] = sentence
    return Said(
        doubts=doubts,
        elsewhere={volume: f'{name} has it attached to {", ".join(hosts)}, '
                   'and not to this host'
                   for volume, hosts in listing.elsewhere.items()
                   if volume in known},
        lacking={volume: one for volume, one in listing.here.items()
                 if volume not in written
                 and one.state is base.State.ATTACHED})


def _doubt(name: str, volume: str, mine: Known,
           listing: base.Listing) -> str | None:
    found = listing.here.get(volume)
    if found is not None:
        other = differs(found.names, mine.source)
        return None if other is None else f'{name} says that {other}'
    if volume in listing.elsewhere or not mine.concerned:
        return None
    return f'{name} has it attached nowhere; the journal has it attached here'


def differs(names: Mapping[str, str],
            source: Mapping[str, str]) -> str | None:
    """Where two names of some data differ, as far as both tell."""
    for word, value in sorted(names.items()):
        if source.get(word, value) != value:
            return f'its {word} is {value}, and {source[word]} is mapped'
    return None


def confirmed(now: Mapping[str, str], before: Mapping[str, str],
              same: Collection[str]) -> dict[str, str]:
    """What two answers in a row say.

    :param same: volumes of which nothing was written between the two.

    Between a connector's note and the API's there may be a moment in which
    the two differ: what one answer alone says is no contradiction.
    """
    return {volume: sentence for volume, sentence in now.items()
            if volume in before and volume in same}
