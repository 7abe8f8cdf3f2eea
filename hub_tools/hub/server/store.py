"""A store: the folder that holds one Hub, and everything that reads or writes it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from hub_tools.hub.server import objects
from hub_tools.hub.server.accounts import Accounts
from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.database import Database
from hub_tools.hub.server.errors import HubServerError
from hub_tools.hub.server.signing import Signer


def prepare_folder(path: Path) -> Path:
    """Make the store's folder, open to its owner only, and return its absolute path."""
    path = path.expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HubServerError(f"The Hub cannot keep its store in {path}: {error.strerror}") from error
    return path


class Store:
    """One Hub's data; `id` differs between any two stores, ever.

    `xet_id` is part of the address that xorbs are sent to. Clients remember by it which xorbs are there,
    so it changes whenever some are deleted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.blobs = BlobStore(path)
        except OSError as error:
            raise HubServerError(f"The Hub cannot write to its store {path}: {error.strerror}") from error
        self.db = Database(path / "hub.sqlite")
        self.accounts = Accounts(path)
        self.id = self.db.constant("id", secrets.token_hex(16))
        self.xet_id = self.db.constant("xet", secrets.token_hex(16))
        self.signer = Signer(self.db.constant("secret", secrets.token_hex(32)))

    def close(self) -> None:
        """Let go of the database, once this thread is done with the store."""
        self.db.close()

    def hold(self, repo_id: int, hashes: Iterable[str]) -> None:
        """Let a repo hold objects whose bytes are stored."""
        with self.db.write() as db:
            objects.add(db, repo_id, hashes)
