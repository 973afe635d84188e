"""`python -m turnlog`: the same as `turnlog`."""

from turnlog.cli.main import main

main()
