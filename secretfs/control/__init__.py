"""The control process: the store, the keys, the HTTP API, the attach socket and the reconciler.

It has no capabilities, a uid and a landlock domain of its own. It tells fs what the trees are, and asks the supervisor
for what only root can do.

==================  ================================================================================================
``main``            the root key, lock in, serve
``assembly``        how the parts are put together
``records``         what is stored where, one module per noun
``usecases``        every rule that needs the store
``audit``           who did what, in the same commit as the act
``values``          sealed values on their way in, and on to fs
``trees``           what every task should show, and its way to fs
``reconcile``       the life of running tasks; ``processes`` says which processes a task is made of
``api``             the HTTP API: the Docker Engine's, and the native routes
``frontends``       what else serves: the attach socket
``fs_link``         the words with fs
``broker``          the words with the supervisor; both over ``channel``
``syscalls``        the system calls that it is refused
``ports``           what control needs of these two, for those who only need to know that
==================  ================================================================================================
"""
