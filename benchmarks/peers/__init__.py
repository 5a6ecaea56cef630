"""Workers that run other projects' taggers, each in an environment of its own.

They are run as scripts and import nothing of ours, since our packages are not installed there.
"""
