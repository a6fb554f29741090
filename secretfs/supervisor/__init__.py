"""The supervisor: root, standard library only, small. It owns what must outlive the other two processes.

That is the FUSE device and its recorded INIT, the arena, the listening sockets. It starts, watches and replaces fs and
control, and does for control, in a few fixed verbs, what needs root. It has no parser, no network, no keys.

==============  ==================================================================================================
``setup``       directories, locks, sockets, uids: refused before anything is changed, or made
``mountpoint``  where the mount goes, and that nobody else gets it
``connection``  the mount, the device, INIT, RESEND
``arena``       the memfd: made, locked, wiped
``child``       one process: started, watched, killed
``watch``       all of them: heard, and reaped
``succession``  from one fs to the next
``deaths``      of fs: which the next one is no help against
``broker``      the verbs, in threads
``members``     which processes a task is made of
``repair``      living trees in the place of dead ones; a program of its own
``holdings``    all that outlives a child: made, or taken over
``handover``    from an fs whose supervisor is gone
``takeover``    from a supervisor that lives
``upgrade``     to the version that is installed now, in place
``main``        the loop
==============  ==================================================================================================
"""
