"""Measuring: every figure beside what a user would do instead and beside what the machine can do.

Machines are shared and noisy, so a figure and its peer and bound are measured turn by turn in one
run, and what is reported is the middle of their ratios.
"""
