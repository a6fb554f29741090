"""The Docker Engine API: routes, texts and quirks, and nowhere else.

Rule: what a Docker user can observe is the engine's (``docker-engine-api.md``); paths come with and without
``/vX.Y``.
"""
