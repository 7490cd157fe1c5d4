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
"""os-brick-healer-agent: the console script."""

import sys


def main() -> int:
    """Run the agent in this process.

    oslo.privsep imports eventlet wherever it is installed (os-brick's
    dependencies may bring it), which takes half of the time that an agent
    needs to come up, and a guest may be waiting for it. Nothing here runs on
    eventlet, so that in this process it counts as not installed: importing
    a module whose entry is None raises ImportError.
    """
    sys.modules.setdefault('eventlet', None)  # type: ignore[arg-type]
    from os_brick_healer.agent import process  # noqa: PLC0415 - see above
    return process.main()


if __name__ == '__main__':
    sys.exit(main())
