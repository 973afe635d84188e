"""Who may be asked for: a web page whose name was made to point here (DNS rebinding) is no one of ours."""

import re
from ipaddress import ip_address

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]@/]+)(?::[0-9]{1,5})?", re.ASCII)


def is_ours(header: str, configured: str, local: str) -> bool:
    """Whether a Host header names loopback, the configured host, or the address at which the connection arrived.

    `local` is that address: where one listens at all of a machine's, that is the one that was meant.
    """
    found = _HOST.fullmatch(header.strip())
    if found is None:
        return False
    name = _plain(found[1])
    return name == "localhost" or is_loopback(name) or name in (_plain(configured), _plain(local))


def is_loopback(address: str) -> bool:
    """Whether an address, without brackets, leads to this machine alone; a name is none."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _plain(host: str) -> str:
    """A host without brackets and in one spelling."""
    name = host.strip("[]").lower()
    try:
        found = ip_address(name)
    except ValueError:
        return name
    return str(getattr(found, "ipv4_mapped", None) or found)
