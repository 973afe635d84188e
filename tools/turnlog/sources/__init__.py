"""Where turns come from: one module a format, behind one interface (`turnlog.sources.base`)."""
