# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Reads a guest's console and kernel log for what must not be there."""

from collections.abc import Iterable, Sequence
import dataclasses
import re

ALARMS = re.compile(
    r'WARNING:|\bOops\b|\bBUG:|kernel BUG|Kernel panic|'
    r'general protection fault|hung_task|blocked for more than|'
    r'Out of memory|oom-kill|oom_reaper|soft lockup|hard LOCKUP|'
    r'rcu.*(?:self-detected stall|detected stalls)|'
    r'possible (?:circular|recursive) locking|UBSAN|KASAN|'
    r'EXT4-fs error|segfault at')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A line that may stand there, and why: without a reason it may not."""
    pattern: str
    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError('cannot allow a console line: because no '
                             f'reason is given for {self.pattern!r}')


def alarms(lines: Iterable[str], allowed: Sequence[Allowed] = ()) -> list[str]:
    """The alarming lines that nothing allows, each said once.

    >>> alarms(['[    1.5] WARNING: CPU: 0', 'all is well'])
    ['WARNING: CPU: 0']
    """
    found: dict[str, None] = {}
    for line in lines:
        text = re.sub(r'^\s*(<\d+>)?\[\s*\d+\.\d+\]\s*', '', line).strip()
        if ALARMS.search(text) and not any(
                re.search(allow.pattern, text) for allow in allowed):
            found.setdefault(text)
    return list(found)
