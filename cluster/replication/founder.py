"""Carries out what `Founding` says: saves to the identity file, sends over the links."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Protocol

from cluster.replication.channels import FOUNDING
from cluster.replication.founding import Founding, Save, Step
from cluster.replication.founding_record import record_of, with_record
from cluster.replication.group_settings import GroupSettings
from cluster.replication.links import Links


class Folder(Protocol):
    """Where the record is kept."""

    @property
    def identity(self) -> Any: ...
    def update_identity(self, identity: Any) -> None: ...


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
        identity = folder.identity
        self._folder = folder
        self._links = links
        self._on_formed = on_formed
        record = record_of(identity)
        self.founding = Founding(group.node_id, group.members, identity.disk_id, record, mint)
        links.handlers[FOUNDING] = self._received

    def _received(self, peer_id: str, message: memoryview) -> None:
        self._take(self.founding.receive(peer_id, bytes(message)))

    def link_up(self, peer_id: str) -> None:
        """Messages to the peer arrive from now on."""
        self._take(self.founding.connected(peer_id))

    def wake(self) -> None:
        """At the start, and every second or so."""
        self._take(self.founding.wake())

    def _take(self, steps: list[Step]) -> None:
        formed = False
        for step in steps:
            if isinstance(step, Save):
                # Blocks for a sync: a few times in the life of a folder.
                self._folder.update_identity(with_record(self._folder.identity, step.record))
                formed = formed or step.record.formed
            else:
                self._links.send(FOUNDING, step.peer_id, step.message)
        if formed:
            self._links.set_cluster(self._folder.identity.cluster_id)
            self._on_formed()
