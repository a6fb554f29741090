"""The rules of secretfs, as plain values and functions: no I/O, no clock, no randomness, no event loop.

Time, random bytes and user ids come in as arguments; what is wrong is refused here, once, with Docker's text
where Docker has one. What came out of a ``parse_*`` function is right, and nobody checks it again.
"""
