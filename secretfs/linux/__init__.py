"""Thin, typed wrappers around Linux calls that the standard library lacks. The rule: no decision is taken here.

A failure is an OSError with errno and the name of its object. Descriptors are plain integers, close-on-exec, and the
caller's to close. Man pages are named as mount(2), in the docstring of the module where not in the function's.
"""
