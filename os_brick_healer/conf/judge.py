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
"""What is wrong with a configuration, in an operator's words.

oslo.config judges a value when it is used, takes nan for a number, and
says nothing of a name that it does not know.
"""

from collections.abc import Iterable, Iterator
import contextlib
import difflib
import glob
import math
import os
import re
import shlex
from typing import Any

from oslo_config import cfg, iniparser

from os_brick_healer import regular
from os_brick_healer.conf import opts

#: What oslo.config raises; RecursionError: an option that names itself;
#: OSError: a file that is none.
WRONG = (cfg.Error, ValueError, RecursionError, OSError)
#: Directories that several processes must mean the same by.
_PLACES = ('state_path', 'run_path', 'local_file')
#: The agent's working directory is not that of who configures it.
_PLACES_IF_SET = ('metrics_textfile',)

#: How alike a section's name must be to be a slip of the pen.
_SECTION_CUTOFF = 0.8
_VALUE = re.compile(r".*detail='(?P<file>.*?)'\) is not valid: (?P<why>.*)",
                    re.DOTALL)
_REFUSED = re.compile(r'argument --(?P<name>\S+): Invalid (?P<kind>.*) value: '
                      r'(?P<value>.*)\n', re.DOTALL)
_WORDS = (
    (r'invalid literal for int\(\) with base 10: (.*)',
     r'\1 is not a whole number'),
    (r'could not convert string to float: (.*)', r'\1 is not a number'),
    (r'Unexpected boolean value (.*)', r'\1 is neither true nor false'),
)


def values(conf: cfg.ConfigOpts,
           names: Iterable[str] | None = None) -> None:
    """Read each of our options once.

    :param names: of those to be read, None: all.
    :raises ValueError: names the option, the file where it is known, and
        what is wrong.
    """
    for name in ((opt.dest for opt in opts.ALL_OPTS) if names is None
                 else names):
        try:
            value = getattr(conf[opts.GROUP], name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"'{value}' is not a number")
            if name == 'root_helper':
                shlex.split(value)
            if (name in _PLACES or (name in _PLACES_IF_SET and value)) and (
                    not os.path.isabs(value)):
                raise ValueError(f"'{value}' is no absolute path")
        except WRONG as e:
            where = _place(conf, name)
            raise ValueError(f'{name}{_plainly(e, where)}') from e


def others(conf: cfg.ConfigOpts, options: Iterable[cfg.Opt]) -> None:
    """Read each of another library's options once.

    :param options: registered, without a group and with no place on the
        command line: of those oslo.config prints what is wrong, and exits.
    :raises ValueError: as for ours.
    """
    for option in options:
        try:
            conf[option.dest]
        except WRONG as e:
            raise ValueError(named(e)) from e


def _place(conf: cfg.ConfigOpts, name: str) -> str:
    """The file of a value that oslo.config takes; empty: not known."""
    found = None
    with contextlib.suppress(*WRONG):
        found = conf.get_location(name, group=opts.GROUP)
    if found is None or found.location is not cfg.Locations.user or (
            not found.detail):
        return ''
    return f' in {found.detail}'


def _plainly(e: Exception, where: str) -> str:
    """Where a value stands and why it is wrong, without oslo's words."""
    if isinstance(e, RecursionError):
        return ': it names itself'
    found = _VALUE.fullmatch(str(e))
    where = f' in {found["file"]}' if found and found['file'] else where
    why = found['why'] if found else str(e)
    for pattern, words in _WORDS:
        why = re.sub(pattern, words, why, flags=re.DOTALL)
    return f'{where}: {why}'


def named(e: Exception) -> str:
    """The same of a value that was read one day or another."""
    if isinstance(e, cfg.NoSuchOptError):   # what oslo makes of a loop, too
        return f'{e.opt_name} names itself, or an option of nova alone'
    found = re.match(r'Value for option (\S+) from ', str(e))
    return f'{found[1]}{_plainly(e, "")}' if found else str(e)


def not_text(names: Iterable[str]) -> str | None:
    """The first file that is not UTF-8, as a sentence; None: all are."""
    for name in names:
        with contextlib.suppress(OSError):      # of that others tell
            try:
                with open(name, encoding='utf-8') as stream:
                    for _ in stream:
                        pass
            except UnicodeDecodeError:
                return f'{name} is not UTF-8 text'
    return None


def places(names: Iterable[str], directories: Iterable[str]) -> None:
    """Whether files are files, and directories are directories.

    A pipe that a shell has opened for us (``<(...)``) can be read, once; one
    that has a name in a directory may never have a writer. oslo.config finds
    no file in a directory that is none, and says nothing. A link to
    /dev/null is how a file is put out of use.

    :raises ValueError, OSError: one is not, and which.
    """
    directories = [os.path.expanduser(one) for one in directories]
    for one in directories:
        if os.path.exists(one) and not os.path.isdir(one):
            raise ValueError(f'{one} is no directory')
    for name in every_file(map(os.path.expanduser, names), directories):
        if os.path.realpath(name) != os.devnull and (
                not _is_handed_over(name)):
            regular.check(name)


def _is_handed_over(name: str) -> bool:
    """Whether it is a descriptor of this process: /dev/fd/63, /dev/stdin."""
    return os.path.realpath(name).startswith('/proc/')


def every_file(names: Iterable[str],
               directories: Iterable[str]) -> list[str]:
    """All files that are read, in their order."""
    return [*names, *(name for one in directories for name in
                      sorted(glob.glob(os.path.join(one, '*.conf'))))]


def unknown(names: Iterable[str]) -> list[str]:
    """What stands in these files, is read by nobody, and was meant for us.

    Other services' sections stand in the same files: only our own section,
    and those whose name is nearly ours, are judged.

    :returns: one sentence for each.
    """
    return [sentence for name in names for sentence in _unknown(name)]


def _sections(name: str) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError, ValueError, cfg.Error,
                             iniparser.ParseError):
        # Whoever reads it for its values says that it cannot be read.
        cfg.ConfigParser(name, sections).parse()
    return sections


def refused(said: str, names: Iterable[str]) -> str | None:
    """What oslo.config prints of an option that has a place on the command
    line, too, and is wrong in a file; None: it printed something else.

    :param names: the files that were read.
    """
    found = _REFUSED.fullmatch(said)
    if found is None:
        return None
    key, kind, value = found['name'], found['kind'], found['value']
    where = [n for n in names if key in _sections(n).get('DEFAULT', {})]
    why = 'neither true nor false' if kind == 'Boolean' else f'no {kind}'
    return f"{key}{f' in {where[-1]}' if where else ''}: '{value}' is {why}"


def on_command_line(said: str, args: Iterable[str]) -> bool:
    """Whether that option is wrong in the arguments."""
    found = _REFUSED.fullmatch(said)
    return found is not None and found['name'] in {
        word.partition('=')[0].lstrip('-').replace('-', '_')
        for word in args if word.startswith('--')}


def _unknown(name: str) -> Iterator[str]:
    ours = {opt.dest for opt in opts.ALL_OPTS}
    for section, found in _sections(name).items():
        if section.lower() == opts.GROUP:
            for key in sorted(found.keys() - ours):
                yield (f'[{opts.GROUP}] {key} in {name} is no option: '
                       f'{_nearest(key, ours)}')
        elif difflib.get_close_matches(section.lower(), [opts.GROUP],
                                       cutoff=_SECTION_CUTOFF):
            yield (f'section [{section}] in {name} is read by nobody: did '
                   f'you mean [{opts.GROUP}]?')


def _nearest(key: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(key.lower().replace('-', '_'),
                                      known, 1)
    return f'did you mean {found[0]}?' if found else 'nobody reads it'
