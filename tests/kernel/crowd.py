"""Tasks that are there at the same time: ``crowd.py SOCKET SECRET...``, a task for each secret.

Each prints a line of JSON: the secret it asked for, and the files it sees with their contents in hex. They live until
stdin ends. It is what ``secretfs run`` does, without a start of Python for each of them.
"""

import json
import os
import sys

from secretfs.runtimes import connection, tree

PLACE = "/run/secrets"


def attach(path: str, secret: str) -> None:
    request = {"Service": None, "Secrets": [{"source": secret, "target": secret}], "TargetDir": PLACE}
    daemon, answer = connection.attached(path, request)
    with daemon:
        tree.put_in_place(answer.trees, PLACE, configs=False)
        connection.mounted(daemon)


def seen() -> dict[str, str]:
    found = {}
    for name in os.listdir(PLACE):
        with open(f"{PLACE}/{name}", "rb") as file:
            found[name] = file.read().hex()
    return found


def main(path: str, *secrets: str) -> None:
    for secret in secrets:
        if os.fork() == 0:
            attach(path, secret)
            os.write(1, json.dumps([secret, seen()]).encode() + b"\n")  # whole: it is less than PIPE_BUF
            os.read(0, 1)
            os._exit(0)
    for _ in secrets:
        assert os.wait()[1] == 0


main(*sys.argv[1:])
