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

"""Our tests.

Properties are checked with the same examples each time, so that the gate
gives one answer for one tree. ``HYPOTHESIS_PROFILE=explore`` looks for new
ones; what it finds becomes an ``@example``. ``quick`` is for those who run
the same tests again and again.
"""

import os

import hypothesis

hypothesis.settings.register_profile(
    'gate', deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile(
    'quick', deadline=None, derandomize=True, database=None, max_examples=10)
hypothesis.settings.register_profile(
    'explore', deadline=None, max_examples=2000)
hypothesis.settings.load_profile(
    os.environ.get('HYPOTHESIS_PROFILE', 'gate'))
