"""Who may do what: the tokens of a store and the users behind them."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from hub_tools.hub.server.errors import INVALID_TOKEN, HubError, HubServerError

Role = Literal["read", "write"]
FILE_NAME = "tokens.json"


@dataclass(frozen=True)
class Account:
    """One token: whose it is and what it allows."""

    token: str
    user: str
    role: Role


@dataclass(frozen=True)
class Viewer:
    """Who sends a request; `user` is None without a token."""

    user: str | None
    role: Role = "read"

    def require_user(self) -> str:
        """The user's name; raises 401 for an anonymous viewer."""
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        return self.user

    def require_write(self, namespace: str, what: str) -> str:
        """The user's name if they may write to the namespace; raises 401 or 403 saying why not."""
        user = self.require_user()
        if namespace != user:
            raise HubError(
                403,
                f'You don\'t have the rights to {what} under the namespace "{namespace}"; yours is "{user}"',
            )
        if self.role != "write":
            raise HubError(
                403, f'This token of "{user}" may only read; use one with the role "write" to {what}'
            )
        return user


ANONYMOUS = Viewer(None)


class Accounts:
    """The tokens in the store's `tokens.json`, which only its owner can read."""

    def __init__(self, store: Path) -> None:
        self._path = store / FILE_NAME
        self._accounts = self._load()

    def _load(self) -> list[Account]:
        try:
            return [Account(**entry) for entry in json.loads(self._path.read_text())]
        except FileNotFoundError:
            return []
        except (TypeError, ValueError, OSError) as error:
            raise HubServerError(f"{self._path} is not a list of tokens: {error}") from error

    def _save(self) -> None:
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump([asdict(account) for account in self._accounts], file, indent=1)
        draft.replace(self._path)

    def owner(self, user: str, token: str | None = None) -> Account:
        """The user's write token, made on first use; a given token takes its place."""
        present = next((a for a in self._accounts if a.user == user and a.role == "write"), None)
        if present is not None and token in (None, present.token):
            return present
        account = Account(token or f"hf_{secrets.token_hex(20)}", user, "write")
        self._accounts = [a for a in self._accounts if a not in (present, account)] + [account]
        self._save()
        return account

    def first_user(self) -> str | None:
        """The user that the store was made for, who has its oldest write token; None in a new store."""
        return next((a.user for a in self._accounts if a.role == "write"), None)

    def known(self, user: str) -> Account | None:
        """The user's write token, if there is one already."""
        return next((a for a in self._accounts if a.user == user and a.role == "write"), None)

    def viewer(self, token: str) -> Viewer:
        """Who sent this token; raises 401 for one that the store does not know."""
        for account in self._accounts:
            if secrets.compare_digest(account.token.encode(), token.encode("utf-8", "replace")):
                return Viewer(account.user, account.role)
        raise HubError(401, INVALID_TOKEN)
