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
"""os-brick-healer: the operator's command.

Exit codes: 0 healthy, 1 degraded or healing, 2 a person should look (held,
stalled, broken), 3 no agent runs, 4 wrong usage or the answer is unknown.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
import contextlib
import io
import sys
import time
from typing import Any, NoReturn

from oslo_config import cfg

from os_brick_healer import exception, version
from os_brick_healer.agent import client, lock, verbs
from os_brick_healer.cli import (
    adopting,
    check,
    offline,
    printing,
    render,
    settings,
)
from os_brick_healer.conf import opts
from os_brick_healer.provisioner import loader
from os_brick_healer.sysfs import reader

EXIT_OK = 0
EXIT_NO_AGENT = 3
EXIT_OTHER = 4

TIMEOUT_S = 5.0
WATCH_S = 1.0
#: Bounds of what is given in seconds; the least is also the fastest watch.
SECONDS_MIN, SECONDS_MAX = 0.1, 86400.0


class _Parser(argparse.ArgumentParser):
    """argparse exits with 2, which here means that a volume is in need."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_OTHER, f'{self.prog}: {message}\n')


def seconds(text: str) -> float:
    """A number of seconds that can be waited for."""
    value = float(text)
    if not SECONDS_MIN <= value <= SECONDS_MAX:      # nan is not, either
        raise argparse.ArgumentTypeError(
            f'{text} is not from {SECONDS_MIN:g} to {SECONDS_MAX:g}')
    return value


def lines(text: str) -> int:
    """How many lines of history; with or without an agent."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 0 < value <= verbs.HISTORY_MAX:
        raise argparse.ArgumentTypeError(
            f'{text} is no whole number from 1 to {verbs.HISTORY_MAX}')
    return value


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(
        prog='os-brick-healer', description='Look after the agent that heals '
        'replicated NVMe-oF volumes on this host.',
        epilog='exit codes: 0 healthy; 1 degraded or healing; 2 held, '
        'stalled or broken; 3 no agent runs; 4 wrong usage or unknown')
    top.add_argument('--config-file', action='append', metavar='PATH',
                     help="read this instead of nova's and our own files")
    top.add_argument('--config-dir', action='append', metavar='DIR')
    top.add_argument('--timeout', type=seconds, default=TIMEOUT_S,
                     metavar='SECONDS', help='for one question to the agent')
    top.add_argument('--version', action='version',
                     version=f'%(prog)s {version.version_string()}',
                     help="of this command; see also the command 'version'")
    every = top.add_subparsers(dest='verb', required=True, metavar='COMMAND',
                               parser_class=_Parser)

    def add(name: str, run: Callable[['Session'], int],
            text: str) -> argparse.ArgumentParser:
        one = every.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    one = add('status', run_status, 'volumes, legs, what is being done, why')
    one.add_argument('--json', action='store_true')
    one.add_argument('--watch', nargs='?', type=seconds, const=WATCH_S,
                     metavar='SECONDS', help='again and again; with --json '
                     'one document a line')
    one.add_argument('--verbose', '-v', action='store_true',
                     help='details of healthy volumes, too')
    one = add('explain', run_explain, 'all that is known about one volume')
    one.add_argument('volume', help='id, its beginning, alias or array')
    one.add_argument('--json', action='store_true')
    one = add('history', run_history, 'what was decided and done')
    one.add_argument('volume', nargs='?')
    one.add_argument('--limit', type=lines, metavar='LINES',
                     default=verbs.HISTORY_DEFAULT,
                     help=f'so many at most; at most {verbs.HISTORY_MAX}')
    one.add_argument('--json', action='store_true')
    one = add('pause', run_pause, 'watch and tell, but change nothing')
    one.add_argument('reason', nargs='*')
    add('resume', run_resume, 'heal again')
    one = add('wake', run_wake, 'look at a volume, or at all of them, now')
    one.add_argument('volume', nargs='?')
    add('reload', run_reload, 'read the configuration again')
    adopting.arguments(add('adopt', run_adopt, 'look after a mapping that '
                           'somebody else has made'))
    one = add('check', run_check, 'does this host have what healing needs')
    one.add_argument('--json', action='store_true')
    one.add_argument('--online', action='store_true',
                     help='ask the provisioner, too')
    add('version', run_version, 'of this command and of the agent')
    return top


class Session:
    """What a subcommand works with."""

    def __init__(self, args: argparse.Namespace, read: settings.Configuration,
                 ) -> None:
        self.args = args
        self.conf = read.conf
        self.read = read
        self.settings = read.conf[opts.GROUP]

    def ask(self, verb: str, **more: Any) -> Any:
        """One question to the agent."""
        path = client.socket_path(self.settings.run_path)
        try:
            return client.Client(path, self.args.timeout).call(verb, **more)
        except client.AgentDown:
            if self.read.unread is None:
                raise
            raise exception.ConfigError(
                'cannot tell whether an agent runs: because nobody listens '
                f'on {path}, and {self.read.unread}, which cannot be read, '
                'may name another run_path',
                hint='mend it, or run this as a user who may read it'
                ) from None

    def why_down(self, down: client.AgentDown) -> str:
        """An agent that starts or stops holds the locks and does not serve;
        one whose run_path is another one holds that of the journal."""
        home = self.settings.run_path
        for place, why in (
                (home, 'holds the lock, but does not answer yet'),
                (self.settings.state_path, f'has the journal, but is not '
                 f'found in {home}: its run_path is another one, or was '
                 'taken away')):
            try:
                holder = lock.holder(place)
            except exception.HealerError as e:
                return f'CANNOT TELL WHETHER AN AGENT RUNS: {down}; {e}'
            if holder is not None:
                return f'NO AGENT ANSWERS: {holder} {why}'
        return f'NO AGENT RUNS: {down}'

    def offline(self) -> offline.Found:
        """What the journal says when there is nobody to ask."""
        return offline.look(self.settings.state_path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. :returns: the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):    # whatever LANG says
            stream.reconfigure(errors='backslashreplace')
    if printing.is_closed():
        printing.complain(printing.CLOSED)
        return EXIT_OTHER
    try:
        try:
            code = run(parser().parse_args(argv))
        finally:
            sys.stdout.flush()      # what argparse has printed, too
    except KeyboardInterrupt:
        return EXIT_OTHER
    except OSError as e:
        printing.give_up(e)
        return EXIT_OTHER
    return code


def run(args: argparse.Namespace) -> int:
    """One command; what is expected to go wrong is said."""
    read = settings.read(args.config_file or (), args.config_dir or (),
                         whole=args.verb == 'check')
    if args.verb != 'check' and read.error is not None:
        printing.complain(read.error)
    try:
        return int(args.run(Session(args, read)))
    except exception.HealerError as e:
        return fail(args, e, read.error)


def fail(args: argparse.Namespace, error: exception.HealerError,
         wrong: str | None) -> int:
    """Say it to a person, and to whoever reads the JSON.

    :param wrong: what is wrong with the configuration, which has been said:
        the agent refuses a reload with the same words.
    """
    if str(error) != wrong:
        printing.complain(str(error))
    if getattr(args, 'json', False):
        printing.dump({'error': str(error)} if wrong is None else
                      {'error': str(error), 'configuration': wrong})
    return (EXIT_NO_AGENT if isinstance(error, client.AgentDown)
            else EXIT_OTHER)


@contextlib.contextmanager
def understood(verb: str) -> Iterator[None]:
    """Whoever listens on the socket may be of another version, or anybody:
    an answer of another shape than ours is no defect of this command.

    :raises AgentSilent: it could not be made sense of.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError,
            ArithmeticError, RecursionError) as e:
        raise client.nonsense(verb) from e


def run_status(session: Session) -> int:
    """Once, or again and again until interrupted."""
    if session.args.watch is None:
        text, code = status_once(session)
        print(text)
        return code
    code = EXIT_OK
    clear = '\x1b[H\x1b[2J' if sys.stdout.isatty() else ''
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            text, code = status_once(session)
            now = printing.when(time.time())
            print(f'{clear}{text}' if session.args.json
                  else f'{clear}{now}\n{text}', flush=True)
            time.sleep(session.args.watch)
    return code


def status_once(session: Session) -> tuple[str, int]:
    """The status and its exit code; from the journal if no agent runs."""
    args = session.args
    indent = 2 if args.watch is None else None      # one document a line
    try:
        told = session.ask('status')
    except client.AgentDown as e:
        found = session.offline()
        return (printing.as_json(offline.as_json(found), indent)
                if args.json else offline.text(found, session.why_down(e),
                                               when=printing.when),
                EXIT_NO_AGENT)
    with understood('status'):
        if not (isinstance(told['agent'], dict)
                and isinstance(told['volumes'], list)):
            raise TypeError
        text = (printing.as_json(told, indent) if args.json else
                render.status(told, width=printing.width(),
                              now_wall=time.time(), verbose=args.verbose))
        return text, render.exit_code(told)


def run_explain(session: Session) -> int:
    told = session.ask('explain', key=session.args.volume)
    with understood('explain'):
        code = render.exit_code({'volumes': [told['volume']]})
        text = (printing.as_json(told) if session.args.json else
                render.explain(told, width=printing.width(),
                               when=printing.when))
    print(text)
    return code


def run_history(session: Session) -> int:
    """From the agent, or from the journal without one."""
    args, code = session.args, EXIT_OK
    more = {} if args.volume is None else {'key': args.volume}
    try:
        rows = session.ask('history', limit=args.limit, **more)
    except client.AgentDown as e:
        try:
            book = offline.book_of(session.settings.state_path)
        except exception.JournalError as unread:
            raise client.AgentDown(f'{e}; {unread}') from e
        with contextlib.closing(book):
            printing.complain(f'{e}; this is from the journal')
            rows = offline.history(book, args.volume, args.limit)
        code = EXIT_NO_AGENT
    with understood('history'):
        text = render.history(rows, when=printing.when)
    print(printing.as_json(rows) if args.json else text)
    return code


def run_pause(session: Session) -> int:
    reason = ' '.join(session.args.reason)
    printing.say(session.ask('pause',
                             **({'reason': reason} if reason else {})))
    return EXIT_OK


def run_resume(session: Session) -> int:
    printing.say(session.ask('resume'))
    return EXIT_OK


def run_wake(session: Session) -> int:
    volume = session.args.volume
    printing.say(session.ask('wake', **({'key': volume} if volume else {})))
    return EXIT_OK


def run_reload(session: Session) -> int:
    printing.say(session.ask('reload'))
    return EXIT_OK


def run_adopt(session: Session) -> int:
    """With or without an agent: one that runs sees the journal change."""
    return adopting.run(session.conf, session.args,
                        lambda text: print(render.safe(text)),
                        printing.complain)


def run_check(session: Session) -> int:
    """Each line says what is wrong and the way out."""
    findings = check.everything(
        session.read,
        probe=probe_provisioner if session.args.online else None)
    if session.args.json:
        printing.dump([f.as_dict() for f in findings])
    else:
        print(check.text(findings))
    return check.exit_code(findings)


def probe_provisioner(conf: cfg.ConfigOpts) -> tuple[str, object]:
    """Register this host and ask for its volumes, as the agent does."""
    from os_brick_healer import assembly  # noqa: PLC0415 - seldom, slow
    host = assembly.identify(conf, reader.Tree())
    provisioner = loader.load(conf, host)
    try:
        return provisioner.probe(), provisioner.volumes()
    finally:
        provisioner.close()


def run_version(session: Session) -> int:
    print(f'os-brick-healer {version.version_string()}')
    try:
        told = session.ask('version')
    except client.AgentDown:
        print('no agent runs')
        return EXIT_NO_AGENT
    with understood('version'):
        text = (f'agent {render.safe(told["version"])}, process '
                f'{render.safe(told["pid"])}')
    print(text)
    return EXIT_OK


if __name__ == '__main__':
    sys.exit(main())
