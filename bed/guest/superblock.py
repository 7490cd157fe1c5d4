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
"""MD's version 1.2 superblock: read where data begins, or make a foreign one.

The layout is struct mdp_superblock_1 of the kernel's
include/uapi/linux/raid/md_p.h; everything is little-endian.
"""

import dataclasses
import struct
import uuid

MAGIC = 0xA92B4EFC
OFFSET_BYTES = 4096  # version 1.2 stands 4 KiB into the device
SECTOR_BYTES = 512
DATA_OFFSET_SECTORS = 2048
HEADER = struct.Struct('<4I16s32sQIIQII')  # up to bitmap_offset
DATA = struct.Struct('<4QII16s')  # from data_offset (128) to device_uuid
DATA_AT = 128
TAIL = struct.Struct('<3Q2I')  # from utime (192) to max_dev
TAIL_AT = 192
CHECKSUM_AT = 216
SIZE_BYTES = 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """The few fields that tests look at."""
    array_uuid: uuid.UUID
    device_uuid: uuid.UUID
    name: str
    raid_disks: int
    component_bytes: int
    data_offset_bytes: int
    events: int


def parse(block: bytes) -> Superblock | None:
    """The superblock in the 256 bytes or more at OFFSET_BYTES, if any."""
    (magic, _major, _features, _pad, set_uuid, name, _ctime, _level, _layout,
     size, _chunk, disks) = HEADER.unpack_from(block)
    if magic != MAGIC:
        return None
    (data_offset, _data_size, _super, _recovery, _number, _corrected,
     device_uuid) = DATA.unpack_from(block, DATA_AT)
    events = TAIL.unpack_from(block, TAIL_AT)[1]
    return Superblock(
        array_uuid=uuid.UUID(bytes=set_uuid),
        device_uuid=uuid.UUID(bytes=device_uuid),
        name=name.rstrip(b'\0').decode(errors='replace'), raid_disks=disks,
        component_bytes=size * SECTOR_BYTES, events=events,
        data_offset_bytes=data_offset * SECTOR_BYTES)


def foreign(device_bytes: int, name: str = 'elsewhere:precious') -> bytes:
    """The superblock of a two-leg RAID1 that nobody here has made."""
    sectors = device_bytes // SECTOR_BYTES - DATA_OFFSET_SECTORS
    block = bytearray(4096)
    HEADER.pack_into(block, 0, MAGIC, 1, 0, 0, uuid.uuid4().bytes,
                     name.encode(), 1_700_000_000, 1, 0, sectors, 0, 2)
    DATA.pack_into(block, DATA_AT, DATA_OFFSET_SECTORS, sectors,
                   OFFSET_BYTES // SECTOR_BYTES, 0, 0, 0, uuid.uuid4().bytes)
    max_dev = 2
    TAIL.pack_into(block, TAIL_AT, 1_700_000_000, 17, 0xFFFFFFFFFFFFFFFF, 0,
                   max_dev)
    struct.pack_into('<2H', block, SIZE_BYTES, 0, 1)
    struct.pack_into('<I', block, CHECKSUM_AT,
                     checksum(block[:SIZE_BYTES + 2 * max_dev]))
    return bytes(block)


def checksum(block: bytes | bytearray) -> int:
    """calc_sb_1_csum() of drivers/md/md.c, the checksum's field being 0."""
    whole = len(block) // 4
    total: int = sum(struct.unpack_from(f'<{whole}I', block))
    return (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF
