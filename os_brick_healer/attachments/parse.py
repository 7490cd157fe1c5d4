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
"""Answers of HTTP APIs, taken apart with care. Pure."""

from collections.abc import Mapping
from typing import Any

from os_brick_healer import exception

Document = Mapping[str, Any]

#: Kubernetes' mark of a next page is the longest word of all.
TEXT_CHARACTERS_MAX = 8192
#: What Cinder allows as the name of a volume.
SHOWN_CHARACTERS_MAX = 255


def nonsense(what: str) -> exception.SourceNonsense:
    """The error for an answer that cannot be."""
    return exception.SourceNonsense(
        f'cannot use this answer: because {what}')


def mapping(value: object, what: str) -> Document:
    """An object. :raises SourceNonsense: it is none."""
    if not isinstance(value, Mapping):
        raise nonsense(f'{what} is no object')
    return value


def items(value: object, what: str) -> list[Document]:
    """A list of objects. :raises SourceNonsense: it is none."""
    if not isinstance(value, list):
        raise nonsense(f'{what} is no list')
    return [mapping(one, f'an entry of {what}') for one in value]


def inner(document: Document, *names: str) -> Document:
    """An object within objects; what is not there is empty."""
    for name in names:
        document = mapping(document.get(name) or {}, name)
    return document


def text(document: Document, name: str) -> str:
    """Text that must be there. :raises SourceNonsense: it is not."""
    value = optional(document, name)
    if not value:
        raise nonsense(f'{name} is no text')
    return value


def optional(document: Document, name: str) -> str:
    """Text, empty if it is not there.

    :raises SourceNonsense: a number, or what no plain text is: it goes into
        URLs, sentences and the journal.
    """
    value = _told(document, name)
    if len(value) > TEXT_CHARACTERS_MAX or not value.isprintable():
        raise nonsense(f'{name} is no plain text')
    return value


def shown(document: Document, name: str) -> str:
    """Text of a person's choice, as it can be shown; empty if not there.

    It must not make nonsense of an answer that is about others, too.
    """
    value = _told(document, name)[:SHOWN_CHARACTERS_MAX]
    return ''.join(c if c.isprintable() else ' ' for c in value).strip()


def _told(document: Document, name: str) -> str:
    value = document.get(name)
    if value is None:
        return ''
    if not isinstance(value, str):
        raise nonsense(f'{name} is no text')
    return value


def image(name: str) -> dict[str, str]:
    """``pool/[namespace/]image`` in the words of the mounter rbd-nbd.

    :raises SourceNonsense: it is no such name.
    """
    parts = name.split('/')
    if len(parts) not in (2, 3) or not parts[0] or not parts[-1]:
        raise nonsense(f'{name[:80]!r} is no pool and image')
    found = {'pool': parts[0], 'image': parts[-1]}
    if len(parts) == 3 and parts[1]:
        found['namespace'] = parts[1]
    return found
