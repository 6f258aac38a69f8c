"""Passwords: what is kept of one, which are good enough, how long a wrong one costs.

Kept is Argon2id (RFC 9106) with 19 MiB and 3 passes: the least that OWASP's password storage
cheat sheet recommends and one pass more, small enough for a board with 8 GB that is analysing.
"""

from __future__ import annotations

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher(time_cost=3, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
# A name that is not known costs the same time as a wrong password. Written out, for making it anew
# would cost every command the time of a log-in.
NOBODY = (
    "$argon2id$v=19$m=19456,t=3,p=1$B/6lM4JTVDem0Hd8uuazxQ"
    "$UxCPA5gBqS0NxNpig7X2yCn+KINEAuvI0Kig3rBfjEg"
)

SHORTEST = 10
LONGEST = 256
_FREE_TRIES = 4
_LONGEST_WAIT_S = 900.0


class WeakPassword(ValueError):
    """A password that is not taken; the text says why."""


def keep(password: str) -> str:
    """Return what is kept of a new password.

    Raises
    ------
    WeakPassword
        If it is too short, too long, or of one character. Length is what counts, and no
        classes of characters are asked for (NIST SP 800-63B section 5.1.1.2).
    """
    if len(password) < SHORTEST:
        raise WeakPassword(
            f"A password has at least {SHORTEST} characters. A short sentence is good and easy."
        )
    if len(password) > LONGEST:
        raise WeakPassword(f"A password has at most {LONGEST} characters.")
    if len(set(password)) < 4:
        raise WeakPassword("A password of so few different characters is guessed at once.")
    return _HASHER.hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Return whether a password is the one that was kept; takes the same time when none was."""
    try:
        right = _HASHER.verify(kept or NOBODY, password[: LONGEST + 1])
    except (VerificationError, InvalidHashError):
        return False
    return right and kept is not None


def wait_s(failures: int) -> float:
    """Return how long an account is closed after so many wrong passwords in a row, in seconds.

    Four cost nothing, then it doubles from 5 s to 15 minutes: a guesser gets some hundred tries
    a day, and nobody is locked out for good.
    """
    if failures <= _FREE_TRIES:
        return 0.0
    return min(_LONGEST_WAIT_S, 5.0 * 2.0 ** min(failures - _FREE_TRIES - 1, 16))
