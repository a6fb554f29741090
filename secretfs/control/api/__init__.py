"""The HTTP API on ``api.sock``: ``docker`` is the Docker Engine API, ``native`` what Docker has not;
``server`` carries both.
"""
