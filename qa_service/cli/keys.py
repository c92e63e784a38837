"""``qa-service asr-server keys``: API keys and the digests that the server knows them by."""

from __future__ import annotations

import sys

import click

from qa_service.asr_server.keys import digest_of, digest_text, new_key


@click.group()
def keys() -> None:
    """Make API keys, and the digests that may be stored in their place."""


@keys.command(
    epilog="""\b
Example:
  qa-service asr-server keys new"""
)
def new() -> None:
    """Print a new key for a client and its digest for the server; nothing is stored."""
    key = new_key()
    click.echo(f"key     {key}")
    click.echo(f"digest  {digest_text(digest_of(key))}")
    click.echo(
        "Give the key to the client; it is shown this once. Put the digest into QA_SERVER_API_KEYS, or as a "
        "line into the file QA_SERVER_API_KEYS_FILE.",
        err=True,
    )


@keys.command(
    "hash",
    epilog="""\b
Examples:
  qa-service asr-server keys hash                 asks for the key
  qa-service asr-server keys hash < key.txt""",
)
def hash_() -> None:
    """Print the digest of a key, which is asked for or read from standard input."""
    key = click.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key:
        raise click.UsageError("no key was given: type it, or send it to standard input")
    click.echo(digest_text(digest_of(key)))
