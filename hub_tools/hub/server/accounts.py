"""Who may do what: the tokens of a store and the users and organisations behind them."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from hub_tools.hub.server.errors import INVALID_TOKEN, HubError, HubServerError

Role = Literal["read", "write"]
FILE_NAME = "tokens.json"
_LOCK_NAME = "tokens.lock"


@dataclass(frozen=True)
class Account:
    """One token: whose it is, what it allows, and the organisations its user is in."""

    token: str
    user: str
    role: Role
    orgs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Viewer:
    """Who sends a request; `user` is None without a token."""

    user: str | None
    role: Role = "read"
    orgs: tuple[str, ...] = ()

    def belongs_to(self, namespace: str) -> bool:
        """Whether the namespace is the viewer's own or that of an organisation they are in."""
        return self.user is not None and (namespace == self.user or namespace in self.orgs)

    def require_user(self) -> str:
        """The user's name; raises 401 for an anonymous viewer."""
        if self.user is None:
            raise HubError(401, "Invalid username or password.")
        return self.user

    def require_writer(self, what: str) -> str:
        """The user's name if their token may write at all; raises 401 or 403."""
        user = self.require_user()
        if self.role != "write":
            raise HubError(
                403, f'This token of "{user}" may only read; use one with the role "write" to {what}'
            )
        return user

    def require_write(self, namespace: str, what: str) -> str:
        """The user's name if they may write to the namespace; raises 401 or 403 saying why not."""
        user = self.require_user()
        if not self.belongs_to(namespace):
            raise HubError(
                403,
                f'You don\'t have the rights to {what} under the namespace "{namespace}"; yours is "{user}"',
            )
        return self.require_writer(what)


ANONYMOUS = Viewer(None)


class Accounts:
    """The tokens in the store's `tokens.json`, which only its owner can read; changes to it count at once."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store / FILE_NAME
        self._stamp: tuple[int, ...] | None = None
        self._accounts: list[Account] = []

    def every(self) -> list[Account]:
        """All tokens, the oldest first, read again whenever the file has changed."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                entries = json.loads(self._path.read_text())
                accounts = [Account(**{**entry, "orgs": tuple(entry.get("orgs", ()))}) for entry in entries]
                self._accounts, self._stamp = accounts, stamp
        except FileNotFoundError:
            self._accounts, self._stamp = [], None
        except (TypeError, ValueError, AttributeError, OSError) as error:
            if self._stamp is not None:
                return self._accounts  # a slip of a hand in the file must not lock everybody out
            raise HubServerError(f"{self._path} is not a list of tokens: {error}") from error
        return self._accounts

    @contextmanager
    def _changing(self) -> Iterator[list[Account]]:
        """The tokens to change; writers take turns, and readers see the old file or the new."""
        with os.fdopen(os.open(self._store / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            accounts = list(self.every())
            yield accounts
            draft = self._path.with_suffix(".new")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump([asdict(account) for account in accounts], file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)

    def owner(self, user: str, token: str | None = None) -> Account:
        """The user's write token, made on first use; a given token takes its place."""
        present = self.known(user)
        if present is not None and token in (None, present.token):
            return present
        account = Account(token or _new_token(), user, "write", self.orgs(user))
        with self._changing() as accounts:
            kept = [a for a in accounts if a not in (present, account)]
            accounts[:] = [account, *kept] if present is not None else [*kept, account]
        return account

    def add(self, user: str, role: Role, orgs: tuple[str, ...] = ()) -> Account:
        """Make another token for a user, who need not exist yet, and put them into organisations."""
        with self._changing() as accounts:
            joined = tuple(dict.fromkeys([*self.orgs(user), *orgs]))
            account = Account(_new_token(), user, role, joined)
            accounts[:] = [
                Account(a.token, a.user, a.role, joined) if a.user == user else a for a in accounts
            ]
            accounts.append(account)
        return account

    def revoke(self, user: str, role: Role | None = None) -> int:
        """Take away a user's tokens, or those of one role; returns how many there were."""
        with self._changing() as accounts:
            kept = [a for a in accounts if a.user != user or role not in (None, a.role)]
            count = len(accounts) - len(kept)
            accounts[:] = kept
        return count

    def first_user(self) -> str | None:
        """The user that the store was made for, who has its oldest write token; None in a new store."""
        return next((a.user for a in self.every() if a.role == "write"), None)

    def known(self, user: str) -> Account | None:
        """The user's write token, if there is one already."""
        return next((a for a in self.every() if a.user == user and a.role == "write"), None)

    def users(self) -> list[str]:
        """Everybody who has a token."""
        return list(dict.fromkeys(a.user for a in self.every()))

    def orgs(self, user: str) -> tuple[str, ...]:
        """The organisations that a user is in."""
        return tuple(dict.fromkeys(org for a in self.every() if a.user == user for org in a.orgs))

    def members(self, org: str) -> list[str]:
        """The users of an organisation; empty for a name that is none."""
        return list(dict.fromkeys(a.user for a in self.every() if org in a.orgs))

    def viewer(self, token: str) -> Viewer:
        """Who sent this token; raises 401 for one that the store does not know."""
        for account in self.every():
            if secrets.compare_digest(account.token.encode(), token.encode("utf-8", "replace")):
                return Viewer(account.user, account.role, account.orgs)
        raise HubError(401, INVALID_TOKEN)


def _new_token() -> str:
    return f"hf_{secrets.token_hex(20)}"
