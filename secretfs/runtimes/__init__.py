"""How a task gets its tree. One module per way to run something; here, ``secretfs run``: a host process, exec
in place.

Rule: what can be refused is refused before the daemon is asked, and the program starts only when all else is
done. Imports are few: everybody who runs a program waits for them.
"""
