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
"""Everything that runs as root, behind one privsep context.

The entry points (``privileged.md``, ``nvme``, ``nbd``, ``unit``) take plain
typed values, check each of them again, look the named thing up in sysfs
again, and only then act. There is no entry point that runs a given command.
"""

from collections.abc import Callable
import functools
import os
import shlex
import sys
import threading
import time
from typing import Any, ParamSpec, TypeVar

from oslo_config import cfg
from oslo_privsep import capabilities as c
from oslo_privsep import comm, daemon, priv_context

from os_brick_healer import exception

P = ParamSpec('P')
R = TypeVar('R')

SECTION = 'privsep_os_brick_healer'

# The privileged process stays uid 0, so that it owns what root owns
# (/sys/class/nvme/*/delete_controller is 0200 root, /dev/nvme-fabrics 0600
# root, /dev/nvme0n1 0660 root): no CAP_DAC_OVERRIDE is needed for them.
# CAP_SYS_ADMIN: md's sysfs stores (md_attr_store, rdev_attr_store) and its
# ioctls return EACCES without it (drivers/md/md.c).
# These bound our own Python code. A program that uid 0 executes gets the
# whole bounding set back (capabilities(7), "Capabilities and execution of
# programs by root"): mdadm and nvme are bounded by the service's
# CapabilityBoundingSet, if at all.
# CAP_NET_ADMIN: sock_diag's SOCK_DESTROY (net/core/sock_diag.c).
# CAP_KILL: a server that hangs may be another user's process.
CAPABILITIES = [c.CAP_SYS_ADMIN, c.CAP_NET_ADMIN, c.CAP_KILL]

# Threads of the privileged process. A command in uninterruptible sleep (an
# mdadm that reads a dead leg) keeps its thread until the kernel lets go,
# and what makes it let go may be the deletion of a controller that waits
# for a thread. oslo.privsep's default, the number of processors, is too
# few for that. Both wings use them, and a read through a server that has
# just come up may hang, too.
THREADS = 32

# What a call is not to be begun after, on its way over the wall.
_NOT_AFTER = '_not_after_s'

# How much longer than its own deadline a call may take to come back:
# queueing, starting the process, and killing it.
_SLACK_S = 5.0
_DEADLINE_S = 30.0

context = priv_context.PrivContext(
    __name__,
    cfg_section=SECTION,
    pypath=__name__ + '.context',
    capabilities=CAPABILITIES,
    logger_name=__name__,
)
_starting = threading.Lock()
cfg.CONF.set_default('thread_pool_size', THREADS, group=SECTION)


def entrypoint(func: Callable[P, R]) -> Callable[P, R]:
    """Make a function callable from the unprivileged side, with a deadline.

    The deadline is the call's ``timeout_s`` and some slack: it holds even
    when every privileged thread is stuck. What waits for a thread until then
    is not done at all. All that privsep itself may raise comes out as
    CommandError.
    """
    remote: Callable[..., R] = context.entrypoint(func)

    @functools.wraps(func)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not context.client_mode:
            return _told(_in_time(func, kwargs.pop(_NOT_AFTER, None)),
                         *args, **kwargs)
        deadline_s = float(_number(kwargs.get('timeout_s'))) + _SLACK_S
        try:
            _start_helper()
            kwargs[_NOT_AFTER] = time.monotonic() + deadline_s
            return remote(*args, _wrap_timeout=deadline_s, **kwargs)
        except comm.PrivsepTimeout:
            raise exception.CommandError(
                f'cannot {func.__name__}: the privileged process gave no '
                f'answer in {deadline_s:g} s') from None
        except (OSError, daemon.FailedToDropPrivileges) as error:
            raise exception.CommandError(
                f'cannot {func.__name__}: the privileged process cannot be '
                f'used: {error}',
                hint='does the rootwrap filter of os-brick-healer stand in '
                     "nova's filters_path, and may sudo run it?") from error

    # What privsep looks for on its side of the wall (is_entrypoint).
    setattr(call, priv_context._ENTRYPOINT_ATTR, context)
    return call


def _in_time(func: Callable[P, R], not_after_s: Any) -> Callable[P, R]:
    """The same, unless who asked for it has given up.

    A call waits while every thread is stuck, also past the end of its agent.
    What was looked at before it, a leg that answers above all, is too old
    then, and has been looked at again by whoever tries it again.

    :param not_after_s: CLOCK_MONOTONIC, which both processes read.
    """
    if not_after_s is None or time.monotonic() <= not_after_s:
        return func
    raise exception.CommandError(
        f'cannot {func.__name__}: because nobody waits for it any more')


def _start_helper() -> None:
    """As oslo.privsep would, but before a call's time begins to run."""
    with _starting:
        channel = context.channel
        if channel is not None and not channel.running:
            context.stop()
        if context.channel is None:
            context.start()


def _told(func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call on the privileged side; errors that privsep can carry.

    privsep makes the error anew from its class and its args alone: the
    hint goes into the sentence, and other classes become CommandError.
    """
    try:
        return func(*args, **kwargs)
    except (exception.CommandError, exception.NotOurs) as error:
        raise type(error)(str(error)) from error
    except (exception.HealerError, OSError) as error:
        raise exception.CommandError(
            f'cannot {func.__name__}: {error}') from error


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) else _DEADLINE_S


def prepare(root_helper: str) -> None:
    """Say how the privileged process is started; the first call starts it.

    :param root_helper: as for :func:`start`.
    """
    priv_context.init(root_helper=_prefix(root_helper))


def start(root_helper: str) -> None:
    """Say how the privileged process is started, and start it.

    To be called once, by the process that owns its configuration (never by
    a thread inside nova-compute, which has told oslo.privsep itself).

    :param root_helper: as in ``[os_brick_healer] root_helper``; not used
        by a process that is root already.
    :raises CommandError: the helper cannot be started.
    """
    prepare(root_helper)
    try:
        context.start()
    except (OSError, daemon.FailedToDropPrivileges) as error:
        raise exception.CommandError(
            f'cannot start the privileged helper: {error}',
            hint='root_helper, sudoers, the rootwrap filter and the logging '
                 'options of nova.conf decide about it') from error


def _prefix(root_helper: str) -> list[str]:
    if os.geteuid() != 0:
        return shlex.split(root_helper)
    # An empty prefix means "sudo" to oslo.privsep. env(1) looks the helper
    # up in the PATH that it is given: beside our own interpreter first.
    beside = os.path.dirname(sys.executable)
    return ['/usr/bin/env', f'PATH={beside}:{SEARCH_PATH}']


#: Where commands are looked for: never in the caller's PATH.
SEARCH_PATH = '/usr/sbin:/usr/bin:/sbin:/bin'


def stop() -> None:
    """End the privileged process."""
    context.stop()
