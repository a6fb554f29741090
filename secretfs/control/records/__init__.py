"""What is stored where: one module per noun. Rule: keys are made here and nowhere else; values are never
below a listed prefix.

===============================  ===================================================================
``secret/ID`` ``config/ID``      the object without its value
``name/NOUN/FOLDED NAME``        the id that has the name
``value/ID/VERSION/key``         the wrapped data key
``value/ID/VERSION/data``        the ciphertext
``refs/ID``                      services and ad-hoc tasks that use the object
``service/ID`` ``task/ID``       a service, a task
``cluster/id`` and ``/keyring``  the cluster's id, and the keyring as ``crypto/lock.py`` seals it
``audit/TIME-RANDOM``            who did what (``control/audit.py``)
===============================  ===================================================================
"""
