"""One file per subcommand of `turnlog daemon`; each loads as little as it can, for it is asked often."""
