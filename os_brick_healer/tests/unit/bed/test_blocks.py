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

import os

from hypothesis import given
from hypothesis import strategies as st

from bed.guest import blocks, superblock
from os_brick_healer.tests import base

RUN = bytes(range(16))


class TestBlocks(base.TestCase):
    """The proof that no acknowledged write is lost is itself proven."""

    @given(st.integers(0, 2 ** 40), st.integers(1, 2 ** 40))
    def test_what_is_written_is_read(self, number: int, version: int) -> None:
        block = blocks.make(RUN, number, version)
        self.assertEqual(blocks.BLOCK_BYTES, len(block))
        self.assertEqual(version, blocks.read(block, RUN, number))

    @given(st.integers(0, blocks.BLOCK_BYTES - 1), st.integers(1, 255))
    def test_any_changed_byte_is_found(self, at: int, change: int) -> None:
        block = bytearray(blocks.make(RUN, 7, 3))
        block[at] ^= change
        self.assertRaises(blocks.BadBlock, blocks.read, bytes(block), RUN, 7)

    def test_zeros_another_place_and_another_run_are_found(self) -> None:
        for block in (bytes(blocks.BLOCK_BYTES), blocks.make(RUN, 8, 1),
                      blocks.make(os.urandom(16), 7, 1)):
            self.assertRaises(blocks.BadBlock, blocks.read, block, RUN, 7)

    def test_a_write_under_way_may_be_there_or_not(self) -> None:
        ledger = blocks.Ledger(run=RUN)
        ledger.acknowledge(5, ledger.next_version(5))
        ledger.next_version(5)
        for version in (1, 2):
            self.assertEqual('', ledger.judge(
                5, blocks.make(RUN, 5, version)))

    def test_an_older_version_is_a_lost_write(self) -> None:
        ledger = blocks.Ledger(run=RUN)
        for _ in range(2):
            ledger.acknowledge(5, ledger.next_version(5))
        self.assertIn('a write is lost',
                      ledger.judge(5, blocks.make(RUN, 5, 1)))
        self.assertIn('never written',
                      ledger.judge(5, blocks.make(RUN, 5, 3)))


class TestSuperblock(base.TestCase):

    def test_a_foreign_superblock_reads_as_such(self) -> None:
        found = superblock.parse(superblock.foreign(64 << 20))
        assert found is not None
        self.assertEqual('elsewhere:precious', found.name)
        self.assertEqual(1 << 20, found.data_offset_bytes)
        self.assertEqual(63 << 20, found.component_bytes)

    def test_a_blank_leg_has_none(self) -> None:
        self.assertIsNone(superblock.parse(bytes(4096)))
