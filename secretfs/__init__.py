"""Docker-Swarm-grade secrets for anything that runs on a Linux host.

Where things are; imports go down only (import-linter holds it):

======================  ==================================================================================
``cli/``                the command line, one module per noun; output in one place
``doctor/``             is this host fit for secretfs, and is what runs on it well
``runtimes/``           how a program gets its tree: ``secretfs run``
``control/``            the control process: store, keys, HTTP API, attach socket, reconciler
``fs/``                 the fs process: answers the kernel, and nothing else
``supervisor/``         root: mounts, starts and replaces the other two, broker for what needs root
``store/``              four operations, their contract, the SQLite engine
``crypto/``             the envelope of a value, the keyring and the root key
``core/``               pure: names, grants, services, tasks, the plan of a node, compose files
``link/``               frames between the three processes: fixed types and their codec, pure
``linux/``              thin typed wrappers of system calls
``errors.py``           every exception
======================  ==================================================================================
"""

__version__ = "0.1.0"
