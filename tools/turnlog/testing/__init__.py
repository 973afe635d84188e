"""What users need to test their own sources, sinks and policies; `turnlog` itself never imports it."""
