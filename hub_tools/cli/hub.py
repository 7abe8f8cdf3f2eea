"""`backforth hub`: the embedded Hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from hub_tools.cli.app import SERVERS, app
from hub_tools.errors import BackforthError

if TYPE_CHECKING:
    from hub_tools.hub.server.accounts import Accounts

hub_app = typer.Typer(
    no_args_is_help=True, help="The embedded Hub: a Hub on this machine for unmodified clients."
)
app.add_typer(hub_app, name="hub", rich_help_panel=SERVERS)
StoreOption = Annotated[Path, typer.Option(help="Folder that holds the Hub's repos.")]
DEFAULT_STORE = Path(".backforth/hub")


NameArgument = Annotated[str, typer.Argument(help="The user's name, which is also their namespace.")]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn a failure of the server's into one line for the person at the keyboard."""
    from hub_tools.hub.server import HubServerError

    try:
        yield
    except HubServerError as error:
        raise BackforthError(str(error)) from error


@hub_app.command("serve")
def hub_serve(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8408,
    store: StoreOption = DEFAULT_STORE,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need HF_TOKEN.")
    ] = "127.0.0.1",
    namespace: Annotated[
        str,
        typer.Option(help="The user that the printed token belongs to; others get theirs by `hub token`."),
    ] = "demo",
) -> None:
    """Serve a Hub from a folder. The first line printed is ready to paste into a shell."""
    from hub_tools.hub.server import serve

    token = os.environ.get("HF_TOKEN") if host not in ("127.0.0.1", "localhost") else None
    with _plain_errors():
        serve(store, port, host, namespace, token)


@hub_app.command("status")
def hub_status(store: StoreOption = DEFAULT_STORE) -> None:
    """Say whether the Hub of a folder is up, and how to use it."""
    from hub_tools.hub.server.daemon import running

    address = running(store)
    if address is None:
        typer.echo(f"no Hub is up for {store}; start it with: backforth hub serve --store {store}")
        raise typer.Exit(1)
    typer.echo(f"export HF_ENDPOINT={address.endpoint} HF_TOKEN={address.token}")
    typer.echo(f"process {address.pid} serves {store}; it may write to the namespace {address.namespace}")


@hub_app.command("stop")
def hub_stop(store: StoreOption = DEFAULT_STORE) -> None:
    """Stop the Hub of a folder; everything published stays in the folder."""
    from hub_tools.hub.server.daemon import stop

    typer.echo("stopped" if stop(store) else f"no Hub was up for {store}")


def _accounts(store: Path) -> Accounts:
    from hub_tools.hub.server.accounts import Accounts
    from hub_tools.hub.server.store import prepare_folder

    return Accounts(prepare_folder(store))


@hub_app.command("token")
def hub_token(
    name: NameArgument,
    role: Annotated[Literal["read", "write"], typer.Option(help="What the token allows.")] = "write",
    org: Annotated[
        Optional[list[str]],  # noqa: UP045  (typer reads it)
        typer.Option(help="An organisation to put the user in; may be repeated."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Print a new token for a user, who is made by this; a running Hub takes it at once."""
    from hub_tools.hub.server.repos import check_namespace

    with _plain_errors():
        for namespace in (name, *(org or ())):
            check_namespace(namespace)
        accounts = _accounts(store)
        if clash := {name} & {o for a in accounts.every() for o in a.orgs} | set(org or ()) & set(
            accounts.users()
        ):
            raise BackforthError(
                f"{clash.pop()!r} cannot be both a user and an organisation; choose another name"
            )
        typer.echo(accounts.add(name, role, tuple(org or ())).token)


@hub_app.command("tokens")
def hub_tokens(store: StoreOption = DEFAULT_STORE) -> None:
    """List who has tokens, what they allow and the users' organisations; never the tokens themselves."""
    with _plain_errors():
        for account in _accounts(store).every():
            typer.echo("  ".join([account.user, account.role, *account.orgs]))


@hub_app.command("revoke")
def hub_revoke(
    name: NameArgument,
    role: Annotated[
        Optional[Literal["read", "write"]],  # noqa: UP045  (typer reads it)
        typer.Option(help="Only the tokens of this role."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Take away a user's tokens; a running Hub refuses them at once. What the user made stays."""
    from hub_tools.hub.server.daemon import owner

    with _plain_errors():
        accounts = _accounts(store)
        if name == owner(store, "") and role != "read":
            raise BackforthError(f"{name!r} is the user that this Hub was made for; its token stays")
        count = accounts.revoke(name, role)
    typer.echo(f"{count} {'token' if count == 1 else 'tokens'} of {name} revoked")
    if not count:
        raise typer.Exit(1)


@hub_app.command("gc")
def hub_gc(
    store: StoreOption = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    grace_hours: Annotated[
        float, typer.Option(min=0, help="Keep uploads of the last hours, whose commit may still come.")
    ] = 24.0,
) -> None:
    """Delete file contents that no commit names any more. The Hub must be stopped for that."""
    from hub_tools.hub.server.sweeping import sweep

    with _plain_errors():
        found = sweep(store.expanduser().absolute(), dry_run, grace_hours)
    verb = "would free" if dry_run else "freed"
    typer.echo(
        f"{verb} {found.freed:,} bytes: {found.files:,} files that no commit names and {found.xorbs:,} xorbs;"
        f" {found.kept:,} files stay"
    )


@hub_app.command("fsck")
def hub_fsck(store: StoreOption = DEFAULT_STORE) -> None:
    """Check every commit, ref and byte of a Hub, running or not; exit code 1 if anything is wrong."""
    from rich.console import Console
    from rich.progress import Progress

    from hub_tools.hub.server.checking import check

    screen = Console(stderr=True)
    with _plain_errors(), Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("checking", total=None)
        report = check(
            store.expanduser().absolute(), lambda done, total: bar.update(task, completed=done, total=total)
        )
    for problem in report.problems:
        typer.echo("".join(char if char.isprintable() else "?" for char in problem))
    typer.echo(
        f"{report.repos:,} repos, {report.commits:,} commits, {report.files:,} files (no commit names"
        f" {report.orphans:,} of them), {report.xorbs:,} xorbs, {report.size:,} bytes:"
        f" {len(report.problems):,} problems"
    )
    if report.problems:
        raise typer.Exit(1)
