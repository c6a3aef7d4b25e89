"""What a refund claim is, how risky it is, what to do about it, and why: pure functions and values.

Nothing here knows of a web framework, a database driver or a socket; `training` and `serving` both stand on it.
"""

__version__ = "0.1.0"
"""Frozen into every decision as the version of the code that made it."""
