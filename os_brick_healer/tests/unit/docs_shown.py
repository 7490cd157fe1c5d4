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
"""What the documentation shows and names, read from its pages."""

import argparse
import ast
from collections.abc import Iterator
import contextlib
import dataclasses
import io
import pathlib
import re
import shlex
import textwrap

ROOT = pathlib.Path(__file__).parents[3]
DOC = ROOT / 'doc' / 'source'
PACKAGE = ROOT / 'os_brick_healer'

#: What stands for something else in a quoted sentence.
PLACEHOLDER = re.compile(
    r'\(.*?\)|\b(?:md\d+ broken|it carries|md\d+|nvme\d+n\d+'
    r'|leg nvme\d+n\d+|vol-\d+|compute-\d+|replica R|[A-Z]|\d+(?:\.\d+)?'
    r'|ext4|write_error|is disconnecting|is attached)\b|\.\.\.')


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A literal block of a page. ``language`` is '' where none is told."""

    where: str
    language: str
    text: str

    @property
    def sections(self) -> set[str]:
        """Of an INI file; none when it is not one."""
        return set(re.findall(r'^\[([^\]]+)\]$', self.text, re.MULTILINE))


def pages() -> list[pathlib.Path]:
    return [ROOT / 'README.rst', ROOT / 'CONTRIBUTING.rst',
            ROOT / 'bed' / 'README.rst', *sorted(DOC.rglob('*.rst')),
            *sorted((ROOT / 'releasenotes' / 'notes').glob('*.yaml'))]


def operators_pages() -> list[pathlib.Path]:
    return [ROOT / 'README.rst', *sorted((DOC / 'admin').glob('*.rst')),
            *sorted((DOC / 'install').glob('*.rst'))]


def named(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: pathlib.Path) -> Iterator[Block]:
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        code = re.fullmatch(r' *\.\. code-block::(?: +(\S+))?', line)
        literal = line.endswith('::') and '.. ' not in line
        if code is None and not literal:
            continue
        margin = len(line) - len(line.lstrip())
        body = []
        for below in lines[number + 1:]:
            if below.strip() and len(below) - len(below.lstrip()) <= margin:
                break
            body.append(below)
        text = textwrap.dedent('\n'.join(
            x for x in body if not re.match(r' *:\w+:', x)))
        yield Block(where=f'{named(path)}:{number + 1}', text=text.strip(),
                    language=(code[1] or '') if code is not None else '')


def blocks() -> list[Block]:
    return [block for path in pages() for block in blocks_of(path)]


def quoted(path: pathlib.Path) -> list[str]:
    """What stands in ``double quotes``, each on one line."""
    text = path.read_text()
    for block in re.findall(r'^ *\.\. literalinclude.*$', text, re.MULTILINE):
        text = text.replace(block, '')
    return [' '.join(x.split()) for x in re.findall(
        r'``([^`]+(?:`[^`]+)*)``', text)]


def emphasised(text: str) -> list[str]:
    """What stands between *asterisks*, each on one line."""
    return [' '.join(x.split()) for x in re.findall(
        r'(?<![*\w])\*([^*]+)\*(?![*\w])', text)]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command that is shown: where, and its words."""
    for path in pages():
        for text in quoted(path):
            if re.match(r'(make|os-brick-healer|python3 -m bed) \S', text):
                yield named(path), shlex.split(text)
    for block in blocks():
        for line in re.sub(r'\\\n *', '', block.text).splitlines():
            if block.language == 'console':
                line = line.removeprefix('# ').removeprefix('$ ')
            found = re.match(
                r'(?:\w+=\S+ )*(?:\S+/)?'
                r'((?:make|os-brick-healer|python3? -m bed)(?: .*)?)$', line)
            if found is not None and block.language in ('', 'console'):
                yield block.where, shlex.split(found[1], comments=True)


def complaint(parser: argparse.ArgumentParser,
              words: list[str]) -> str | None:
    """What is wrong with a command line, None when nothing is.

    argparse takes the beginning of an option for the whole; we do not.
    """
    known = options(parser)
    for word in words:
        if word.startswith('-') and word.partition('=')[0] not in known:
            return f'no option {word}'
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(words)
    except SystemExit:
        return said.getvalue().strip().splitlines()[-1]
    return None


def parts(parser: argparse.ArgumentParser) -> dict[
        str, argparse.ArgumentParser]:
    """The subcommands of a command."""
    return {name: part for action in parser._actions
            if isinstance(action, argparse._SubParsersAction)
            for name, part in action.choices.items()}


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Every option of a command and of its subcommands."""
    return {text for one in (parser, *parts(parser).values())
            for action in one._actions for text in action.option_strings}


def first_cells(path: pathlib.Path, section: str) -> list[str]:
    """The first column of the tables in a section, without its header."""
    text = path.read_text()
    body = text[text.index(f'\n{section}\n'):].split('\n---', 1)[1]
    body = re.split(r'\n[-=]{4,}\n', body)[0]
    return re.findall(r'^   \* - (``.*)$', body, re.MULTILINE)


def titles(path: pathlib.Path) -> list[str]:
    return re.findall(r'^(\S.*)\n-{3,}$', path.read_text(), re.MULTILINE)


def sentences() -> str:
    """Every text of the rooms that decide; what is filled in is left out."""
    found = []
    paths = [*(PACKAGE / 'replica').glob('*.py'),
             *(PACKAGE / 'engine').glob('*.py')]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append('\0'.join(
                    str(part.value) for part in node.values
                    if isinstance(part, ast.Constant)))
            elif isinstance(node, ast.Constant):
                found.append(str(node.value))
    return '\n'.join(found)


def texts_of(node: ast.AST) -> str:
    """The constant parts of a sentence, in order."""
    return ' '.join(' '.join(
        part.value for part in ast.walk(node)
        if isinstance(part, ast.Constant)
        and isinstance(part.value, str)).split())


def reasons_to_hold() -> list[str]:
    """The sentences with which a volume is held, stalled or broken."""
    found = []
    for path in sorted((PACKAGE / 'replica').glob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            given = [*node.args, *(k.value for k in node.keywords)]
            if any(re.search(r'\bPhase\.(HELD|STALLED|BROKEN)$',
                             ast.unparse(value)) for value in given):
                found += [texts_of(value) for value in given
                          if isinstance(value, ast.JoinedStr)]
    return found


def shares_words(one: str, other: str, count: int = 4) -> bool:
    """Whether so many words of one follow each other in the other."""
    words, told = (re.findall(r'[\w-]+', text) for text in (one, other))
    count = min(count, len(words))
    return any(' '.join(words[i:i + count]) in ' '.join(told)
               for i in range(len(words) - count + 1))


def laws() -> set[str]:
    """The names of the laws, as verdicts carry them."""
    found = set()
    for path in (PACKAGE / 'replica').glob('*.py'):
        found |= set(re.findall(r"^LAW_\w+ = '([^']+)'$|\blaw='([^']+)'",
                                path.read_text(), re.MULTILINE))
    return {name for pair in found for name in pair if name}


def entry_points() -> set[str]:
    """What the privileged side offers."""
    return {f'{path.stem}.{node.name}'
            for path in (PACKAGE / 'privileged').glob('*.py')
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.FunctionDef)
            and any('entrypoint' in ast.unparse(d)
                    for d in node.decorator_list)}


def states_of_legs() -> set[str]:
    """The words that status has for a leg."""
    module = ast.parse((PACKAGE / 'replica' / 'telling.py').read_text())
    return {
        result.value for function in module.body
        if isinstance(function, ast.FunctionDef)
        and function.name == '_state'
        for end in ast.walk(function) if isinstance(end, ast.Return)
        for result in _results(end.value) if isinstance(result.value, str)}


def _results(value: ast.expr | None) -> Iterator[ast.Constant]:
    """The constants that an expression can come to."""
    if isinstance(value, ast.IfExp):
        yield from _results(value.body)
        yield from _results(value.orelse)
    elif isinstance(value, ast.Constant):
        yield value
