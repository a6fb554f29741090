"""What else serves, beside the API: one module per way to become a task. Here the attach socket of ``secretfs
run``.
"""
