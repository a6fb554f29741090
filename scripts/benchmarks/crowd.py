"""Many tasks, as children of this process: ``python -m benchmarks.crowd ATTACH_SOCKET TARGET_DIR``.

Each line of its standard input is the request of one task more (JSON, as the attach socket takes it); each is answered
with a line when the task runs. All end with the standard input.
"""

import json
import os
import sys

from secretfs.runtimes import connection, tree


def main() -> None:
    """Take requests until there are no more; the children see the end of a pipe that this process holds."""
    socket_path, target_dir = sys.argv[1:]
    lease, held = os.pipe()
    for line in sys.stdin:
        said, saying = os.pipe()
        if os.fork() == 0:
            os.close(held)
            os.close(said)
            _be_a_task(socket_path, {**json.loads(line), "TargetDir": target_dir})
            os.write(saying, b".")
            os.read(lease, 1)
            os._exit(0)
        os.close(saying)
        begun = os.read(said, 1)
        os.close(said)
        sys.stdout.write("running\n" if begun else "failed\n")
        sys.stdout.flush()
    os.close(held)


def _be_a_task(socket_path: str, request: dict[str, object]) -> None:
    daemon, answer = connection.attached(socket_path, request)
    with daemon:
        tree.put_in_place(answer.trees, str(request["TargetDir"]), configs=False)
        connection.mounted(daemon)


if __name__ == "__main__":
    main()
