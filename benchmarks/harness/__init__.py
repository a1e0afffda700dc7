"""Comparing contestants: one process each, measured in turn, answers compared, a table written.

The modules that run inside a contestant's process (``worker``, ``work``, ``memory``, ``sides``) need nothing but what
both gcseg and the peer are installed with.
"""
