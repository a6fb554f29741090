"""The command line. Rule: a module per noun, imported when it is asked for; every byte that is printed goes
through ``output``.

``main`` finds the noun's module and calls its ``register(subparsers)``; each command's parser carries
``handler``, a function from the parsed arguments to the exit code. Exit codes: 0 done, 1 refused, 2 the
command line is wrong, 130 interrupted.
"""
