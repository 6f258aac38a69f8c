"""Logging in at the hospital's own log-in: OpenID Connect, authorization code flow with PKCE.

joserfc checks the ID token; the flow itself is two requests. Sources: OpenID Connect Core 1.0
section 3.1, OpenID Connect Discovery 1.0, RFC 7636 (PKCE), RFC 9207 (issuer in the answer),
RFC 9700 (best current practice).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from edge.config import Oidc
from edge.console.accounts import Role

_TIMEOUT_S = 10.0
_LARGEST = 1 << 20  # bytes of an answer
_LASTS_S = 600.0  # between leaving for the log-in and coming back
_MOST = 1000  # log-ins begun and not ended
_SKEW_S = 120
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]


class OidcError(RuntimeError):
    """The hospital's log-in did not let somebody in, or cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A browser on its way to the hospital's log-in.

    Parameters
    ----------
    url : str
        Where it goes.
    state : str
        What it comes back with, and what its cookie must hold then.
    """

    url: str
    state: str


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the log-in let in. `subject` never changes; `role` is by the claims of today."""

    subject: str
    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class _Begun:
    """What is remembered between leaving and coming back."""

    nonce: str
    verifier: str
    redirect: str
    path: str
    until: float


@dataclass(frozen=True, slots=True)
class _Provider:
    """What the log-in's discovery document says."""

    authorize: str
    token: str
    keys_at: str
    keys: KeySet = field(repr=False)


class OidcLogin:
    """The hospital's log-in. Threads may share it.

    Parameters
    ----------
    settings : Oidc
        With an issuer.
    secret : str or None
        The client's; None for a public client.
    """

    def __init__(self, settings: Oidc, secret: str | None) -> None:
        self._settings = settings
        self._issuer = settings.issuer or ""
        self._client = settings.client_id or ""
        self._secret = secret
        self._lock = threading.Lock()  # guards what follows
        self._begun: OrderedDict[str, _Begun] = OrderedDict()
        self._known: _Provider | None = None

    def leave(self, redirect: str, path: str, *, now: float) -> Departure:
        """Send a browser to the log-in.

        Parameters
        ----------
        redirect : str
            Where it comes back to, as registered at the provider.
        path : str
            The page it wanted.
        now : float
            Seconds since the epoch.

        Raises
        ------
        OidcError
            If the provider cannot be reached.
        """
        provider = self._provider()
        begun = _Begun(
            nonce=secrets.token_urlsafe(24),
            verifier=secrets.token_urlsafe(48),
            redirect=redirect,
            path=path,
            until=now + _LASTS_S,
        )
        state = secrets.token_urlsafe(24)
        with self._lock:
            self._begun[state] = begun
            while len(self._begun) > _MOST:
                self._begun.popitem(last=False)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.encode()).digest())
        question = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": redirect,
            "scope": self._settings.scope,
            "state": state,
            "nonce": begun.nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        joined = "&" if "?" in provider.authorize else "?"
        return Departure(f"{provider.authorize}{joined}{urlencode(question)}", state)

    def come_back(
        self, answer: Mapping[str, str], cookie: str, *, now: float
    ) -> tuple[Person, str]:
        """Return who came back, and the page they wanted.

        Parameters
        ----------
        answer : mapping
            The query that the provider sent the browser back with.
        cookie : str
            The state that this browser left with: nobody can be logged in with another's answer.
        now : float
            Seconds since the epoch.

        Raises
        ------
        OidcError
            If the answer is not one to a question of this browser, the provider refused, its
            token is not valid, or none of the person's groups has a role here.
        """
        state = answer.get("state", "")
        with self._lock:
            begun = self._begun.pop(state, None)
        if begun is None or begun.until < now or not secrets.compare_digest(state, cookie):
            raise OidcError("The log-in took too long or was begun elsewhere. Try again.")
        if "error" in answer or "code" not in answer:
            raise OidcError("The hospital's log-in did not let you in.")
        if answer.get("iss", self._issuer) != self._issuer:
            raise OidcError("The answer came from another log-in.")
        claims = self._redeem(answer["code"], begun, now)
        return self._person(claims), begun.path

    def _redeem(self, code: str, begun: _Begun, now: float) -> dict[str, Any]:
        provider = self._provider()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": begun.redirect,
            "client_id": self._client,
            "code_verifier": begun.verifier,
        }
        auth = None if self._secret is None else (self._client, self._secret)
        token = _ask("POST", provider.token, data=form, auth=auth).get("id_token")
        if not isinstance(token, str):
            raise OidcError("The hospital's log-in answered without an ID token.")
        claims = self._verified(token, provider, now)
        if claims.get("nonce") != begun.nonce:
            raise OidcError("The ID token is of another log-in.")
        return claims

    def _verified(self, token: str, provider: _Provider, now: float) -> dict[str, Any]:
        try:
            claims = jwt.decode(token, provider.keys, algorithms=_ALGORITHMS).claims
        except (JoseError, ValueError):
            # The keys may have been replaced since: look once more.
            provider = self._provider(anew=True)
            try:
                claims = jwt.decode(token, provider.keys, algorithms=_ALGORITHMS).claims
            except (JoseError, ValueError) as error:
                raise OidcError("The ID token's signature is not valid.") from error
        rules = jwt.JWTClaimsRegistry(
            now=int(now),
            leeway=_SKEW_S,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            rules.validate(claims)
        except JoseError as error:
            raise OidcError("The ID token is not for this appliance, or too old.") from error
        return dict(claims)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        said = claims.get(settings.role_claim, ())
        groups = {said} if isinstance(said, str) else {str(one) for one in said or ()}
        by_role = {
            Role.ADMIN: settings.admins,
            Role.PHYSICIAN: settings.physicians,
            Role.TECHNICIAN: settings.technicians,
            Role.SERVICE: settings.service,
        }
        role = next((role for role, ours in by_role.items() if groups.intersection(ours)), None)
        if role is None:
            raise OidcError("You are known, but none of your groups may open this appliance.")
        name = claims.get(settings.name_claim) or claims["sub"]
        return Person(f"{settings.issuer}|{claims['sub']}", str(name)[:64], role)

    def _provider(self, *, anew: bool = False) -> _Provider:
        with self._lock:
            if self._known is not None and not anew:
                return self._known
        issuer = self._issuer.rstrip("/")
        found = _ask("GET", f"{issuer}/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise OidcError("The log-in calls itself otherwise than [oidc] issuer.")
        try:
            provider = _Provider(
                str(found["authorization_endpoint"]),
                str(found["token_endpoint"]),
                str(found["jwks_uri"]),
                KeySet.import_key_set(_ask("GET", str(found["jwks_uri"]))),  # type: ignore[arg-type]
            )
        except (KeyError, ValueError, JoseError) as error:
            raise OidcError("The log-in's discovery document or keys cannot be used.") from error
        with self._lock:
            self._known = provider
        return provider


def _ask(
    method: str,
    url: str,
    *,
    data: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Ask the provider something; redirects are not followed."""
    import httpx  # noqa: PLC0415  # 6 MB that only a site with a log-in of its own needs

    try:
        answer = httpx.request(method, url, data=data, auth=auth, timeout=_TIMEOUT_S)
        document = answer.json() if len(answer.content) <= _LARGEST else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise OidcError(
            "The hospital's log-in cannot be reached. Ask its administrator."
        ) from error
    if answer.status_code != 200 or not isinstance(document, dict):
        raise OidcError("The hospital's log-in refused. Ask its administrator.")
    return document
