"""The background service: sources and delivery under one roof, watched over and answerable.

Nothing but the command line imports from here.
"""
