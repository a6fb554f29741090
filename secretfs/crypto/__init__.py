"""The only place that encrypts: ``envelope`` seals values, ``keyring`` holds what wraps their data keys.

Every ciphertext is bound to its meaning through its associated data; every failure to open one is the same
``UnsealError``. ``envelope`` knows neither keyring nor store, so that fs may import it.
"""
