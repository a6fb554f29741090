"""Thin, typed wrappers around Linux calls that the standard library lacks. Rule: nothing is decided here.

A failure is an OSError with errno and the name of its object. Descriptors are integers, close-on-exec, and
the caller's to close. Man pages are named as mount(2), for a whole module where not for a function.
"""
