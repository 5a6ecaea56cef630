"""Workers that run other projects' taggers, each in an environment of its own.

Scripts, not modules: they import nothing of ours, since our packages are not installed there.
"""
