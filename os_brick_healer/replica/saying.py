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
"""The laws' names, and the form of a verdict that heals. Pure."""

from os_brick_healer.engine import verdict
from os_brick_healer.replica import case as case_lib
from os_brick_healer.replica import model

LAW_TELL = 'tell-what-is-lost'
LAW_NAMED_NOW = 'add-only-what-is-named-now'
LAW_SUCCESSOR = 'remove-only-after-the-successor-is-in-sync'
LAW_BOUNDED = 'everything-is-bounded'
LAW_LAST_LEG = 'keep-the-last-leg'
LAW_OURS = 'touch-only-what-is-ours'
LAW_TRUTH = 'nothing-destructive-without-the-truth'


def say(case: case_lib.Case, phase: verdict.Phase, sentence: str, *,
        law: str, action: model.Action | None = None,
        look_again_s: float | None = None) -> model.Verdict:
    """A verdict with the case's memory; looks again soon by default."""
    if look_again_s is None:
        look_again_s = case.policy.provisioner_interval_s
    return model.Verdict(phase=phase, sentence=sentence, law=law,
                         action=action, memory=case.memory,
                         look_again_s=max(0.02, look_again_s))


def array(case: case_lib.Case) -> model.Array:
    """The array, where there must be one."""
    assert case.seen.array is not None
    return case.seen.array


def due(case: case_lib.Case, leg: case_lib.Leg) -> bool:
    """Whether the back-off of a leg is over."""
    return leg.memory.next_try_s <= case.now_s
