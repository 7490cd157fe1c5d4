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

"""Every target, with what hypothesis makes up, and what was found before."""

from collections.abc import Callable
import json
import pathlib
import time
import tracemalloc
from typing import Any

import hypothesis
from hypothesis import strategies as st

from os_brick_healer.tests import base
from os_brick_healer.tests.fuzz import law, table

#: Input that once broke a law: a directory for each target.
FOUND = pathlib.Path(__file__).parent / 'found'
#: Seconds of processor time that one input may take (typically: 1 ms).
CPU_S_MAX = 5.0
#: For each byte of input: what is refused is read, decoded, put in lines.
MEMORY_SHARE_MAX = 12
MEMORY_BASE_BYTES = 16 * 1024 * 1024

_settings = hypothesis.settings(
    deadline=None, max_examples=60,
    suppress_health_check=list(hypothesis.HealthCheck))

_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10)


@st.composite
def hostile(draw: st.DrawFn, seeds: list[bytes],
            words: tuple[bytes, ...]) -> bytes:
    """A seed in which some pieces are replaced, repeated, or left out."""
    data = bytearray(draw(st.sampled_from(seeds)))
    piece = st.one_of(
        st.binary(max_size=8), st.sampled_from(words or (b'\0',)),
        _JSON.map(lambda value: json.dumps(value).encode()))
    for _ in range(draw(st.integers(0, 6))):
        begin = draw(st.integers(0, len(data)))
        end = begin + draw(st.integers(0, 24))
        data[begin:end] = (bytes(data[begin:end]) * draw(st.integers(0, 3))
                           + draw(piece))
    return bytes(data)


class HostileInputTest(base.TestCase):
    # What is logged of a thousand odd inputs is of no use.
    log_level = 100

    def target(self, name: str) -> law.Target:
        made = table.TARGETS[name](self.temp_dir())
        self.addCleanup(made.close)
        return made

    def judge(self, target: law.Target, data: bytes) -> None:
        begin = time.process_time()
        target.run(data)
        used = time.process_time() - begin
        self.assertLess(used, CPU_S_MAX, f'{used} s for {data[:80]!r}')

    def no_input_surprises(self, name: str) -> None:
        target = self.target(name)
        seeds = list(target.seeds())

        @_settings
        @hypothesis.given(hostile(seeds, target.words)
                          | st.binary(max_size=200))
        def attack(data: bytes) -> None:
            self.judge(target, data)

        attack()

    def what_is_right_and_what_was_found_is_read(self, name: str) -> None:
        target = self.target(name)
        for data in (*target.seeds(), b'', b'[' * 100000, b'{"a":' * 20000,
                     *(p.read_bytes() for p in _found(name))):
            self.judge(target, data)

    def no_input_takes_memory_without_bound(self, name: str) -> None:
        target = self.target(name)
        for seed in list(target.seeds())[:1]:
            huge = (seed + b'\n') * (target.huge_bytes // (len(seed) + 1))
            for data in (huge, huge.replace(b'\n', b' ')):
                tracemalloc.start()
                try:
                    target.run(data)
                    _, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                self.assertLess(peak, MEMORY_BASE_BYTES
                                + MEMORY_SHARE_MAX * target.huge_bytes)


def _one_test(law_: Callable[[HostileInputTest, str], None],
              name: str) -> Callable[[HostileInputTest], None]:
    return lambda self: law_(self, name)


for _name in table.TARGETS:
    for _law in (HostileInputTest.no_input_surprises,
                 HostileInputTest.what_is_right_and_what_was_found_is_read,
                 HostileInputTest.no_input_takes_memory_without_bound):
        setattr(HostileInputTest,
                f'test_{_law.__name__}_{_name.replace("-", "_")}',
                _one_test(_law, _name))


def _found(name: str) -> list[pathlib.Path]:
    return sorted((FOUND / name).glob('*'))
