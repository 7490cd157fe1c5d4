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

"""The base class of every test of this project.

It is testtools' TestCase plus the few things nearly every test here needs:
a directory of its own, a configuration nobody else has touched, a limit on
how long it may take (``OS_TEST_TIMEOUT``, in seconds, sets another), and log
output that is shown when, and only when, the test fails.
"""

import logging
import pathlib

import fixtures
from oslo_config import cfg
from oslotest import timeout
import testtools

TIMEOUT_S = 120
#: What waits for nobody takes less than this, seconds, on a machine that is
#: starved of processors, too; what it must not wait for takes longer. How fast
#: something is, is a benchmark's to say.
PATIENCE_S = 25.0


class TestCase(testtools.TestCase):
    """A test that owns its directory, its configuration and its log."""

    log_level = logging.DEBUG

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(timeout.Timeout(default_timeout=TIMEOUT_S))
        self.useFixture(fixtures.NestedTempfile())
        self.log = self.useFixture(fixtures.FakeLogger(level=self.log_level))

    def temp_dir(self) -> pathlib.Path:
        """A new, empty directory, gone when the test ends."""
        return pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def write_file(self, path: pathlib.Path, text: str) -> pathlib.Path:
        """Write text to path, making its directories; give path back."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write_tree(self, root: pathlib.Path, files: dict[str, str]) -> None:
        """Write files, named relative to root, such as a captured sysfs."""
        for name, text in files.items():
            self.write_file(root / name, text)

    def new_conf(self, *files: pathlib.Path) -> cfg.ConfigOpts:
        """A fresh ConfigOpts that has read only the given files.

        No option is registered and the process-wide ``cfg.CONF`` is left
        alone, so a test can neither see nor leave behind another's values.
        """
        conf = cfg.ConfigOpts()
        conf(
            args=[],
            project='os_brick_healer',
            default_config_files=[str(f) for f in files],
            default_config_dirs=[],
        )
        self.addCleanup(conf.reset)
        return conf
