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
"""A host of N volumes in plain files, and the agent's files beside it."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import pickle
import shutil
import sqlite3
import tempfile

from os_brick_healer import assembly
from os_brick_healer.engine import journal
from os_brick_healer.testing import synthetic

MEMORY = '/dev/shm'
JOURNALS = pathlib.Path('build/bench')


class Ground:
    """What one agent of a benchmark lives on.

    The host's files are on a tmpfs, as sysfs is no disk either; the journal
    is on this tree's disk, because its fsync is part of what it costs.
    """

    def __init__(self, tree: pathlib.Path, home: pathlib.Path,
                 volumes: int) -> None:
        self.tree = tree
        self.home = home
        self.volumes = volumes
        self.config = home / 'agent.conf'
        self.answer = home / 'volumes.pickle'
        self.known = home / 'known'

    def prepare(self) -> None:
        """Write the host, what the provisioner says, the attachments."""
        host = synthetic.SyntheticHost(self.tree, volumes=self.volumes,
                                       size_bytes=1 << 30)
        self.answer.write_bytes(pickle.dumps(
            {one.id: one for one in host.volumes}))
        self.config.write_text(
            '[DEFAULT]\nhost = here\n[os_brick_healer]\nlaunch = none\n'
            f'state_path = {self.home}\nrun_path = {self.home}\n'
            f'lock_path = {self.home}\n')
        with contextlib.closing(journal.Journal(
                str(self.home / assembly.JOURNAL))) as kept:
            kept.set_setting('bench', 'made')
        self._attach([str(one.id) for one in host.volumes])

    def _attach(self, volumes: list[str]) -> None:
        """As the connectors would, but in one transaction."""
        with contextlib.closing(sqlite3.connect(
                self.home / assembly.JOURNAL)) as db, db:
            db.executemany(
                'INSERT INTO attachment VALUES (?,?,?,NULL,?,?,?,?)',
                [(v, f'vol-{n}', 'attached', 1, '1', '{}', 0.0)
                 for n, v in enumerate(volumes)])


@contextlib.contextmanager
def ground(volumes: int) -> Iterator[Ground]:
    """A prepared ground; all of it is gone afterwards."""
    JOURNALS.mkdir(parents=True, exist_ok=True)
    on_disk = pathlib.Path(tempfile.mkdtemp(dir=JOURNALS)).resolve()
    in_memory = pathlib.Path(tempfile.mkdtemp(
        prefix='os-brick-healer-bench-',
        dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    try:
        made = Ground(in_memory, on_disk, volumes)
        made.prepare()
        yield made
    finally:
        shutil.rmtree(in_memory, ignore_errors=True)
        shutil.rmtree(on_disk, ignore_errors=True)
