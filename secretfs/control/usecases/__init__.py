"""Every rule that needs the store: secrets, services, tasks, and the grants that tie them together.

Rule: a use case decides from what it has read and commits under guards on that (``commits``), so it holds under any
race. It knows no HTTP and no socket.
"""
