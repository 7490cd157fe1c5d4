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
"""What a writer writes, and what a reader may find of it.

A block says which it is, in which version, and of which run, and carries a
checksum over all of it: whatever comes back is either a version that was
written, whole, or recognisably wrong.
"""

import dataclasses
import struct
import zlib

BLOCK_BYTES = 4096
MAGIC = b'OBHBLOCK'
HEADER = struct.Struct('<8s16sQQ')  # magic, run, block number, version
CRC = struct.Struct('<I')


class BadBlock(Exception):
    """A block holds what nobody wrote there; the text says what."""


def make(run: bytes, number: int, version: int) -> bytes:
    """One block; its filling depends on all of its header.

    :param run: 16 bytes that no other run has
    """
    header = HEADER.pack(MAGIC, run, number, version)
    # cheap and never the same: a repeated digest of the header
    digest = zlib.crc32(header)
    filling = struct.pack('<QQ', digest * 0x9E3779B9, digest * 0x7F4A7C15)
    room = BLOCK_BYTES - HEADER.size - CRC.size
    body = header + (filling * (room // len(filling) + 1))[:room]
    return body + CRC.pack(zlib.crc32(body))


def read(block: bytes, run: bytes, number: int) -> int:
    """The version that a block holds; raises BadBlock."""
    magic, its_run, its_number, version = HEADER.unpack_from(block)
    if magic != MAGIC:
        what = 'zeros' if not any(block) else 'foreign data'
        raise BadBlock(f'block {number} holds {what}')
    if zlib.crc32(block[:-CRC.size]) != CRC.unpack(block[-CRC.size:])[0]:
        raise BadBlock(f'block {number} is torn: its checksum is wrong')
    if its_run != run:
        raise BadBlock(f'block {number} is of another run')
    if its_number != number:
        raise BadBlock(f'block {number} holds block {its_number}')
    return int(version)


@dataclasses.dataclass(slots=True)
class Ledger:
    """Which version of each block was acknowledged, which was only tried.

    After a write that failed or never returned, the block may hold the old
    version or the new one; both are right. Never an older one than the last
    acknowledged, and never one that was not yet written.
    """
    run: bytes
    acknowledged: dict[int, int] = dataclasses.field(default_factory=dict)
    tried: dict[int, int] = dataclasses.field(default_factory=dict)

    def next_version(self, number: int) -> int:
        version = self.tried.get(number, 0) + 1
        self.tried[number] = version
        return version

    def acknowledge(self, number: int, version: int) -> None:
        self.acknowledged[number] = version

    def judge(self, number: int, block: bytes) -> str:
        """Empty if the block is as it must be, else what is wrong."""
        promised = self.acknowledged[number]
        try:
            found = read(block, self.run, number)
        except BadBlock as bad:
            return str(bad)
        if found < promised:
            return (f'block {number} holds version {found}, but version '
                    f'{promised} was acknowledged: a write is lost')
        if found > self.tried[number]:
            return (f'block {number} holds version {found}, which was '
                    f'never written (the last is {self.tried[number]})')
        return ''
