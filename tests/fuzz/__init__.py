"""Damaged files of every kind give the original's result or one line: never a crash, a hang, a flood of memory or other numbers.

In CI each test runs a fixed number of examples with a fixed seed. By hand, each runs for as long as you say, with new seeds:

    FUZZ_SECONDS=3600 python -m pytest tests/fuzz

How to add one: `damage.damaged(original)` draws a damaged copy, `sandbox.Sandbox("module:function")` calls a reader on it in a
process of its own, and `damage.check` runs the property.
"""
