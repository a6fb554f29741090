"""The fs process: answers the kernel, and nothing else.

It runs under a uid of its own, without capabilities, in a landlock domain that opens nothing and behind a filter of
system calls. What it serves lies in the arena, a memfd that outlives it: a successor finds plaintext and manifest there
and serves at once.

=================  ===================================================================================================
``journal``        batches of bytes in the arena, each there whole or not at all
``manifest``       what the arena holds and what the trees are: records, committed in batches to the journal
``arena``          pages of plaintext: allocated, counted, wiped
``inodes``         the manifest as the kernel asks for it: by inode, by name, by file handle
``operations``     the handlers of FUSE requests
``hand``           which of them is in hand, noted before it is handled
``session``        libfuse's part, ready before there is anything to serve
``standby``        an fs that waits for its turn
``handover``       everything is given to the next supervisor
``loop``           how pyfuse3's session loop is driven
``flush``          what the kernel is told, in which order, in threads
``trees``          from the trees that control wants to commits, publications and notifications
``links``          the words with control and with the supervisor
``syscalls``       the system calls that it needs while it serves
``main``           adopt, lock in, serve
=================  ===================================================================================================
"""
