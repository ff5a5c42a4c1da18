"""How programs reach a cluster: one asyncio core and a thin blocking face; starts nothing."""

from taskq.client.asynchronous import AsyncClient
from taskq.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
