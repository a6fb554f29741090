"""Tasks that come, read a secret, and go, one after the other: ``visits.py SOCKET SERVICE TARGET COUNT``.

Prints how many bytes they have read.
"""

import os
import sys

from secretfs.runtimes import connection, tree


def visit(path: str, service: str, target: str) -> int:
    request = {"Service": service, "Secrets": [], "UntilLeader": False, "TargetDir": "/run/secrets"}
    daemon, answer = connection.attached(path, request)
    with daemon:
        tree.put_in_place(answer.trees, "/run/secrets", configs=False)
        connection.mounted(daemon)
    with open(f"/run/secrets/{target}", "rb") as file:
        return len(file.read())


def main(path: str, service: str, target: str, count: str) -> None:
    reading, writing = os.pipe()
    total = 0
    for _ in range(int(count)):
        if (pid := os.fork()) == 0:
            os.write(writing, visit(path, service, target).to_bytes(8, "little"))
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        total += int.from_bytes(os.read(reading, 8), "little")
    sys.stdout.write(f"{total}\n")


main(*sys.argv[1:])
