"""Workarounds for libraries, one file each: library, version, reason, and the test that says when it can go."""
