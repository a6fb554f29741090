"""What is stored where: one module per noun. Rule: keys are made here and nowhere else; values are never
below a listed prefix.

===============================  ============================================================
"""
