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
"""Whether a path still leads to the file that was opened there."""

import os


class Place:
    """One file and its path.

    Whoever asks keeps the file open: the kernel gives the number of a file
    that nobody has any more to the next one.

    :param found: the file, as stat(2) tells it.
    """

    __slots__ = ('_file', 'path')

    def __init__(self, path: str, found: os.stat_result) -> None:
        self.path = path
        self._file = found.st_dev, found.st_ino

    @property
    def gone(self) -> bool:
        """Nothing is there any more, or another file; one stat(2)."""
        try:
            there = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:     # it cannot be told
            return False
        return (there.st_dev, there.st_ino) != self._file
