"""What Turnlog serves over HTTP, and the SQLite file behind it. Nothing but the command line imports from here."""
