"""`khala token create|ls|revoke`: who may use the cluster."""

from __future__ import annotations

from pathlib import Path

import click

from khala.cli.connecting import cluster_options, connect
from khala.cli.exits import Exit, note
from khala.cli.output import print_json, print_table

ROLES = ("admin", "user", "viewer")
_DAY_S = 86_400.0


@click.group()
def token() -> None:
    """Tokens: what a person or a program shows to use the cluster.

    \b
      khala token create laptop                          for yourself
      khala token create ci --user ann --role user --days 90
      khala token ls
      khala token revoke 0123456789abcdef

    Each of them takes --json.
    """


@token.command()
@click.argument("name")
@click.option("--user", default="", help="Whose token it is.  [default: yourself]")
@click.option("--role", type=click.Choice(ROLES), help="Make that user, with this role, if there is none.")
@click.option(
    "--days", type=click.FloatRange(0, min_open=True), help="How long it is good for.  [default: for ever]"
)
@cluster_options
def create(
    name: str, user: str, role: str | None, days: float | None, data_dir: Path | None, as_json: bool
) -> int:
    """Create a token and print it: nobody can see it again.

    \b
      KHALA_TOKEN=$(khala token create ci --user ann --role user --days 90)
    """
    if role and not user:
        raise click.UsageError("--role says what the user of --user is to be: name one")
    with connect(data_dir) as client:
        if role:
            client.create_user(user, role)
        made = client.create_token(name, user=user, expires_in_s=None if days is None else days * _DAY_S)
    if as_json:
        print_json(made)
        return Exit.OK
    note(f"token {made['id']} of {made['user']}, shown only now:")
    click.echo(made["token"])
    return Exit.OK


@token.command()
@click.option("--user", default="", help="Only this user's.")
@cluster_options
def ls(user: str, data_dir: Path | None, as_json: bool) -> int:
    """List your tokens; everybody's if you are an administrator."""
    with connect(data_dir) as client:
        found = client.tokens(user)
    if as_json:
        print_json({"tokens": found})
        return Exit.OK
    rows = [
        (
            entry["id"],
            entry["user"],
            entry["name"],
            _day(entry["created_at"]),
            _day(entry["expires_at"]),
            _day(entry["last_used_at"]),
        )
        for entry in found
    ]
    print_table(("TOKEN", "USER", "NAME", "CREATED", "EXPIRES", "LAST USED"), rows)
    return Exit.OK


@token.command()
@click.argument("token_ids", nargs=-1, required=True)
@cluster_options
def revoke(token_ids: tuple[str, ...], data_dir: Path | None, as_json: bool) -> int:
    """Take tokens away, by the ids that `khala token ls` shows."""
    with connect(data_dir) as client:
        gone = [client.revoke_token(token_id) for token_id in token_ids]
    if as_json:
        print_json({"tokens": gone})
    else:
        for entry in gone:
            click.echo(f"{entry['id']}  revoked")
    return Exit.OK


def _day(time: str | None) -> str:
    return time[:16].replace("T", " ") + " UTC" if time else "-"
