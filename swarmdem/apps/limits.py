"""What the operating system lets one process have, raised as far as it may be without asking anybody."""

import resource

from swarmdem.errors import ConfigError


def allow_files(wanted: int) -> int:
    """Let this process open *wanted* files, or as many as the hard limit says; return how many it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return wanted if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    return enough


def require_files(needed: int, what: str) -> None:
    """Let this process open the files it needs.

    Args:
        needed: How many.
        what: For whom, as the complaint begins.

    Raises:
        ConfigError: The hard limit is lower.
    """
    if (may := allow_files(needed)) < needed:
        raise ConfigError(f"{what}: needs {needed} open files, and `ulimit -Hn` allows {may}")
