"""Carries out what `Founding` says: saves to the identity file, sends over the links."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import structlog

from cluster.replication.channels import FOUNDING
from cluster.replication.founding import Founding, Save, Step
from cluster.replication.founding_record import Folder, record_of, with_record
from cluster.replication.group_settings import GroupSettings
from cluster.replication.links import Links
from cluster.storage.errors import StorageFailed

log = structlog.get_logger(__name__)


class Founder:
    """See the module. `on_formed()` is called once, when the record is on disk."""

    def __init__(
        self,
        folder: Folder,
        group: GroupSettings,
        links: Links,
        on_formed: Callable[[], None],
        mint: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._folder = folder
        self._group = group
        self._links = links
        self._on_formed = on_formed
        self._mint = mint
        self.founding = self._from_disk()
        links.handlers[FOUNDING] = self._received

    def _from_disk(self) -> Founding:
        identity, group = self._folder.identity, self._group
        record = record_of(identity)
        return Founding(group.node_id, group.members, identity.disk_id, record, self._mint)

    def _received(self, peer_id: str, message: memoryview) -> None:
        self._take(self.founding.receive(peer_id, bytes(message)))

    def link_up(self, peer_id: str) -> None:
        """Messages to the peer arrive from now on."""
        self._take(self.founding.connected(peer_id))

    def wake(self, now: float) -> None:
        """At the start, and every second or so. In loop time."""
        self._take(self.founding.wake(now))

    def _take(self, steps: list[Step]) -> None:
        formed = False
        for step in steps:
            if isinstance(step, Save):
                # Blocks for a sync: a few times in the life of a folder.
                identity = with_record(self._folder.identity, step.record)
                try:
                    self._folder.update_identity(identity)
                except StorageFailed as error:
                    # What it decided is not on disk, so it never happened; it is tried again.
                    self.founding = self._from_disk()
                    log.error("the founding record could not be written", error=str(error))
                    return
                formed = formed or step.record.formed
            else:
                self._links.send(FOUNDING, step.peer_id, step.message)
        if formed:
            self._links.set_cluster(self._folder.identity.cluster_id)
            self._on_formed()
