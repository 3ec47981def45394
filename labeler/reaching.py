"""The options of `labeler start` that say how it is reached: HTTPS, a base path, a proxy in front."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from labeler.errors import BadInput

if TYPE_CHECKING:
    from labeler.reach import Reach

F = TypeVar("F", bound=Callable[..., Any])  # Any: as click has it
T = TypeVar("T")

OPTIONS = (
    click.option(
        "--certificate",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Answer over HTTPS, with this certificate (PEM); goes with --key.",
    ),
    click.option(
        "--key", type=click.Path(path_type=Path), metavar="FILE", help="The certificate's private key (PEM)."
    ),
    click.option(
        "--behind-proxy",
        metavar="URL",
        help="The address that people open, where a web server passes it on to this one.",
    ),
    click.option(
        "--base-path",
        metavar="PATH",
        help="The path below which a web server passes on what comes.",
    ),
    click.option(
        "--proxy-at",
        multiple=True,
        metavar="ADDRESS",
        help="Where that web server is; may be repeated.  [default: this computer]",
    ),
)


def reach_options(command: F) -> F:
    """Give a command the options that `read` takes."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def read(
    *,
    certificate: Path | None,
    key: Path | None,
    behind_proxy: str | None,
    base_path: str | None,
    proxy_at: Sequence[str],
) -> "Reach":
    """Return how the server is reached, host and port still to be set.

    Raises click.UsageError for options that don't go together, BadInput for files that can't be used.
    """
    from labeler.identity import Identity
    from labeler.reach import Reach, read_base, read_proxies, read_public

    if (certificate is None) != (key is None):
        given, missing = ("--certificate", "--key") if key is None else ("--key", "--certificate")
        raise click.UsageError(f"{given} needs {missing} too: two PEM files that belong together.")
    if proxy_at and behind_proxy is None and base_path is None:
        raise click.UsageError("--proxy-at only goes with --behind-proxy or --base-path.")
    public, base = _well_formed(
        "--behind-proxy", lambda: read_public(behind_proxy) if behind_proxy else ("", "")
    )
    told = _well_formed("--base-path", lambda: read_base(base_path or ""))
    if base and told not in ("", base):
        raise click.UsageError(f"--behind-proxy says {base} and --base-path says {told}; leave one out.")
    is_behind = behind_proxy is not None or base_path is not None
    proxies = _well_formed("--proxy-at", lambda: read_proxies(proxy_at) if is_behind else ())
    identity = Identity(certificate, key) if certificate and key else None
    return Reach(base=base or told, public=public, proxies=proxies, identity=identity)


def _well_formed(option: str, value: Callable[[], T]) -> T:
    """Return a value, or say as click does that the option is wrong."""
    try:
        return value()
    except BadInput as e:
        raise click.UsageError(f"{option}: {e.error} {e.do}") from e
