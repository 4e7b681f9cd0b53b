"""What was measured, and the commands that repeat it: ``python -m benchmarks.NAME`` in the root of the checkout."""
