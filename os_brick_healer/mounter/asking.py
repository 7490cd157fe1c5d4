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
"""Asking a server whether it lives."""

import socket

from os_brick_healer.mounter import base


def ask(question: base.Question, timeout_s: float) -> tuple[bool, str]:
    """Whether somebody answers, and if not, what was seen."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout_s)
        try:
            link.connect(question.socket)
            if question.words:
                link.sendall(question.words)
            if link.recv(1):
                return True, ''
        except TimeoutError:
            return False, f'no answer in {timeout_s:g} s'
        except OSError as error:
            return False, f'nobody is there ({error.strerror or error})'
    return False, 'it hung up'
