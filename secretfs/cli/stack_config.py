"""``secretfs stack config``. Rule: it asks no daemon, and what it prints can be deployed."""

from argparse import Namespace

from secretfs.cli import output
from secretfs.cli.stack_files import compose_file
from secretfs.core.compose.build import check
from secretfs.core.compose.emit import emitted


def config(arguments: Namespace) -> int:
    """Print the files as one."""
    interpolate = not arguments.skip_interpolation
    file = compose_file(arguments.compose_file, interpolate=interpolate)
    check(file)
    output.template(emitted(file, escape=interpolate))
    return 0
