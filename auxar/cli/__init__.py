"""The command line of auxar. Modules that are needed to run commands, and not for their help, are imported late."""

import sys
from collections.abc import Sequence

from auxar.cli.parser import command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status. The default of `arguments` is the command line of the process.

    The status is 0 on success, 2 for a mistake of the user, a file that cannot be read or written, or lack of memory, 3
    if another process of the run or a data worker died, 130 after SIGINT and 143 after SIGTERM. After --help, --version
    and mistakes in the arguments, argparse raises `SystemExit`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words:
        command_line([]).print_help(sys.stderr)
        return 2
    options = command_line(words).parse_args(words)
    from auxar.cli.running import run

    return run(options)
