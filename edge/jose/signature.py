"""Signed statements: who said it, and of which kind it is.

A JWS (RFC 7515) in compact form with Ed25519 (RFC 8037, named "Ed25519" by RFC 9864). What
a kind of statement says in its protected header is exactly listed and all of it critical, so
that a library that does not know it must refuse. `typ` keeps the signature of an alert from
passing for that of a receipt (RFC 8725 section 3.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from joserfc import jws
from joserfc.errors import BadSignatureError, JoseError
from joserfc.registry import HeaderParameter

from edge.jose.envelope import BUCKETS, Refusal, SealError
from edge.keys.identity import PublicKey, SigningKey

ALGORITHM = "Ed25519"
_MAX_HEADER = 4096  # bytes; 16 thumbprints in base64 have 1000


@dataclass(frozen=True)
class Statement:
    """A kind of signed statement.

    Parameters
    ----------
    typ : str
        Its media type, without ``application/``.
    claims : mapping of str to type
        What its header says besides: ``str``, ``int`` (greater than 0) or ``list`` (of str).
    """

    typ: str
    claims: Mapping[str, type]

    @property
    def critical(self) -> list[str]:
        """The names of the claims, as `crit` lists them."""
        return sorted(self.claims)

    def sign(self, body: bytes, claims: Mapping[str, object], signer: SigningKey) -> bytes:
        """Return the statement as a compact JWS; `claims` has exactly the kind's names."""
        header = {
            "alg": ALGORITHM,
            "kid": signer.kid,
            "typ": self.typ,
            "cty": "json",
            "crit": self.critical,
            **{name: claims[name] for name in self.critical},
        }
        return jws.serialize_compact(header, body, signer.jwk, registry=self.registry).encode()

    def read_header(self, signed: bytes) -> dict[str, Any]:
        """Return the protected header, its form checked. Nothing in it is to be believed yet.

        Raises
        ------
        SealError
            When it is not a compact JWS of this kind.
        """
        try:
            header = jws.extract_compact(signed, None, self.registry).headers()
        except (JoseError, ValueError, TypeError, AttributeError) as error:
            raise SealError(Refusal.MALFORMED, "what is inside is not a compact JWS") from error
        if not (
            isinstance(header, dict)
            and header.keys() == {"alg", "kid", "typ", "cty", "crit", *self.claims}
            and (header["alg"], header["typ"], header["cty"]) == (ALGORITHM, self.typ, "json")
            and header["crit"] == self.critical
            and isinstance(header["kid"], str)
            and all(_is(header[name], kind) for name, kind in self.claims.items())
        ):
            raise SealError(Refusal.MALFORMED, f"the signature's header is not of {self.typ}")
        return header

    def verify(self, signed: bytes, key: PublicKey) -> bytes:
        """Return the body if `key` signed it.

        Raises
        ------
        SealError
            When it did not, or it is not a compact JWS.
        """
        try:
            verified = jws.deserialize_compact(signed, key.jwk, registry=self.registry)
        except BadSignatureError as error:
            raise SealError(Refusal.BAD_SIGNATURE, "the signature does not fit") from error
        except (JoseError, ValueError, TypeError, AttributeError) as error:
            raise SealError(Refusal.MALFORMED, "what is inside is not a compact JWS") from error
        return verified.payload

    @cached_property
    def registry(self) -> jws.JWSRegistry:
        """What the JOSE library is told of this kind."""
        known = {
            name: HeaderParameter(name, _JOSE_TYPES[kind], required=True)
            for name, kind in self.claims.items()
        }
        registry = jws.JWSRegistry(header_registry=known, algorithms=[ALGORITHM])
        registry.max_header_length = _MAX_HEADER
        registry.max_payload_length = BUCKETS[-1]
        return registry


_JOSE_TYPES = {str: "str", int: "int", list: "list[str]"}


def _is(value: object, kind: type) -> bool:
    if kind is int:
        return type(value) is int and value > 0  # a bool is an int, too
    if kind is list:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, kind)
