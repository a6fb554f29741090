"""What secretfs costs beside its peers, measured in one run. ``scripts/bench --help`` says how.

Rules: everything that is compared is measured in turn, round by round, in the same minutes of the same machine; what
counts is the median, and a ratio. An absolute time says more about the machine than about secretfs, so only the JSON
has them.

====================  ====================================================================================
``__main__``          the options, the parts in their order, the exit code
``scale``             how much of everything, in a full and in a quick run
``report``            what was measured, what could not be, and the figures that have a limit
``work``              the place of a run: programs and mounts that end with it
``daemon``            a secretfs of our own; ``api`` is how it and Docker's engine are asked
``filesystems``       what a file operation is tried on; ``files`` tries them
``engine, swarm``     a Docker engine of our own, and what its Swarm has; ``podman`` is Podman
``attach``            starting a program with a secret
``live``              from a change to what a running task sees of it
``secrets``           creating, listing and inspecting, from 10 to 10,000
``memory``            what a daemon takes, with tasks that ``crowd`` makes
``plot``              the picture
``c/``                the client and the floor, and the watcher inside a task
====================  ====================================================================================
"""
