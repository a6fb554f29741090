"""``secretfs doctor``: is this host fit for secretfs, and is what runs on it well. Rule: facts first, then verdicts.

Looking and judging are apart: a check is a function from facts to a verdict, so that a machine that nobody has can be
judged as well. Nothing here changes anything, and nothing waits without end: whatever may not answer (a mount, a
socket, a program) is asked with a deadline.

=================  ==============================================================================================
``verdict``        ok, warn or fail; what was found, what to do
``facts``          everything that was looked at; None where it could not be
``trial``          what only a try can tell, in a child process: a FUSE mount, a user namespace, a mount that answers
``machine``        looks at the kernel and the host
``mounts``         looks at the mounts of secretfs, in every mount namespace
``daemon``         looks at the daemon: processes, sockets, directories, memory
``checks_kernel``, ``checks_host``, ``checks_daemon``: the verdicts
``checkup``        all of it
=================  ==============================================================================================
"""
