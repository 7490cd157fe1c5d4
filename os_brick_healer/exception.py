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
"""Errors that are expected: each names the thing, the cause, the way out."""


class HealerError(Exception):
    """Something expected went wrong.

    :param sentence: ``cannot X: because Y``, for an operator.
    :param hint: what the operator can do about it, or None.
    :param transient: whether trying again later can help.
    """

    transient = True

    def __init__(self, sentence: str, *, hint: str | None = None,
                 transient: bool | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint
        if transient is not None:
            self.transient = transient

    def __str__(self) -> str:
        if self.hint is None:
            return self.sentence
        return f'{self.sentence} ({self.hint})'


class ConfigError(HealerError):
    """A setting or a configuration file is wrong; only a person mends it."""

    transient = False


class JournalError(HealerError):
    """The journal cannot be read or written (disk full, permissions)."""


class CommandError(HealerError):
    """A privileged command failed, was refused, or ran out of time."""


class ReAddRefused(CommandError):
    """MD cannot bring a leg up to date by its bitmap: copy it all."""

    transient = False


class NotOurs(HealerError):
    """A device, array or controller is not (or no longer) what was named."""

    transient = False


class ProvisionerError(HealerError):
    """The provisioner did not do what was asked."""


class ProvisionerUnreachable(ProvisionerError):
    """No answer, or no connection: nothing is known."""


class ProvisionerUnasked(ProvisionerUnreachable):
    """It failed before anything was asked for: nothing was changed."""


class ProvisionerNonsense(ProvisionerError):
    """An answer that cannot be true: garbage, or it contradicts itself."""


class ProvisionerRefused(ProvisionerError):
    """A clear no (denied, unknown volume): trying again will not help."""

    transient = False


class MounterRefused(HealerError):
    """A mounter does not, or must not, serve what it was told to."""

    transient = False


class SourceError(HealerError):
    """A source of attachments did not tell what was asked of it."""


class SourceNonsense(SourceError):
    """An answer that cannot be true: garbage, or it contradicts itself."""
