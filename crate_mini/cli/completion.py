"""``crate-mini completion``: a script that lets the shell complete commands, flags and their choices.

The script lies in the package, ``completion.bash``: a shell asks for it whenever it starts, and shall not wait for all
that the commands import. ``python -m crate_mini.cli.completion`` writes it anew; a test says when it must be.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

FILE = "completion.bash"

SCRIPT = """\
# Completion for crate-mini. In bash:  source <(crate-mini completion bash)
# In zsh the same, after:  autoload -U +X bashcompinit && bashcompinit
_crate_mini() {{
    local word path='' words='' current=${{COMP_WORDS[COMP_CWORD]}}
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
{commands}
        esac
    done
    case "$path ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
        *) case "$path" in
{words}
            esac ;;
    esac
    COMPREPLY=()
    while read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _crate_mini crate-mini
"""


def fill(p: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    p.description = "Print a script for the shell. In bash: source <(crate-mini completion bash)"
    p.add_argument("shell", choices=("bash", "zsh"), help="which")
    p.set_defaults(run=_completion)


def _completion(a: argparse.Namespace) -> None:
    print(files(__package__).joinpath(FILE).read_text(encoding="utf-8"), end="")


def script(top: argparse.ArgumentParser) -> str:
    """The script for a whole command line."""
    commands, choices, words = [], [], []
    for path, parser in _parsers(top, ""):
        below, flags = [], []
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                below = list(action.choices)
            elif action.choices is not None and not action.option_strings:
                below = list(map(str, action.choices))
            flags += [] if action.help == argparse.SUPPRESS else action.option_strings
            if action.choices is not None and action.option_strings:
                flag, values = action.option_strings[0], " ".join(map(str, action.choices))
                choices.append(f"        '{path} {flag}') words='{values}' ;;")
        words.append(f"                '{path}') words='{' '.join([*below, *flags])}' ;;")
        if path:
            before, _, name = path.rpartition(" ")
            commands.append(f"            '{before} {name}') path='{path}' ;;")
    return SCRIPT.format(commands="\n".join(commands), choices="\n".join(choices), words="\n".join(words))


def _parsers(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every parser with the words that lead to it."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _parsers(below, f"{path} {name}")


if __name__ == "__main__":
    from crate_mini.cli import parser

    Path(__file__).with_name(FILE).write_text(script(parser()), encoding="utf-8")
