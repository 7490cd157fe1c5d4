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
"""A metrics file for node_exporter's textfile collector."""

import contextlib
import os
import tempfile

from os_brick_healer import exception


def write(path: str, text: str) -> None:
    """Replace the file in one step, so that no reader sees half of it.

    The temporary file does not end in ``.prom``: the collector reads every
    file of the directory that does.

    :raises HealerError: the directory is missing, full or not writable.
    """
    directory = os.path.dirname(path) or '.'
    temporary: str | None = None
    try:
        fd, temporary = tempfile.mkstemp(
            prefix='.' + os.path.basename(path) + '.', suffix='.tmp',
            dir=directory)
        with os.fdopen(fd, 'w', encoding='utf-8') as f:
            f.write(text)
            os.fchmod(f.fileno(), 0o644)
        os.replace(temporary, path)
    except OSError as e:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise exception.HealerError(
            f'cannot write the metrics file {path}: because {e.strerror}',
            hint='see [os_brick_healer] metrics_textfile') from e
