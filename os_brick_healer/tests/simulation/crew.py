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
"""Several processes, each with runs of its own."""

from collections.abc import Callable, Iterable, Iterator
import multiprocessing
from typing import TypeVar

A = TypeVar('A')
B = TypeVar('B')


def share(work: Callable[[A], B], items: Iterable[A],
          jobs: int) -> Iterator[B]:
    """Results in the order of the items, made by so many processes."""
    if jobs <= 1:
        yield from map(work, items)
        return
    with multiprocessing.get_context('fork').Pool(jobs) as pool:
        yield from pool.imap(work, items)
