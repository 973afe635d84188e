"""Where turns go: one module a backend, behind one interface (`turnlog.sinks.base`)."""
