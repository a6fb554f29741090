"""Where records are kept: four operations (``base``) and the engine that ships (``sqlite``).

A store knows keys and bytes and nothing of secrets: what is stored where, and every rule, is its callers'. A
rule holds under any race because it is a commit with guards.
"""
