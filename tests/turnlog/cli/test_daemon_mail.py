"""A mailbox that the daemon watches: what waits for a person stands in the status."""

from ..sources.post_office import LINK, PostOffice, mail
from ..waiting import until
from .daemons import Service
from .support import Cli
from .test_mailbox import add, office  # noqa: F401 - a fixture


def test_what_is_announced_stands_in_the_status(
    cli: Cli,
    service: Service,
    office: PostOffice,  # noqa: F811
) -> None:
    """By the daemon as soon as the mail is there, with its link; and by `daemon test`, which reads once."""
    add(cli, office)
    office.deliver(mail())
    (looked,) = cli("daemon", "test", "--json").object["sources"]
    assert (looked["source"], looked["problem"]) == ("mailbox", None)
    (notice,) = service.status()["notices"]
    assert notice["link"] == LINK
    service.start()
    until(lambda: service.part("source mailbox").get("state") == "running")
    assert [notice["link"] for notice in service.status()["notices"]] == [LINK]
    assert LINK in cli("daemon", "status").out
