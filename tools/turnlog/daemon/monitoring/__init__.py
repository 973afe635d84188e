"""The daemon's HTTP endpoint, for probes and for Prometheus: see docs/monitoring.md.

It tells what the status tells and holds no state of its own. What costs something to import, http.server and
prometheus-client, is imported when an address is configured, and when metrics are asked for.
"""
