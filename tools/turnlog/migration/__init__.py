"""The way in for those who ran the old scripts: what is there, what it says, and what Turnlog makes of it.

Only reads. `turnlog migrate` prints the plan that is made here, and `turnlog.cli.migrating` carries it out.
"""
