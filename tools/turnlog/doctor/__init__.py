"""Finding out what is wrong with an installation, and how to mend it: small checks that look and change nothing.

Each module has checks of one kind; `findings` says what they return and runs them, `all_checks` puts them together.
"""
