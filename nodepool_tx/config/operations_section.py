"""Reads the section ``nodepool-tx``, of the configuration and of the secure file.

Passwords and tokens may stand in either; the secure file's take the place of
the configuration's.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from nodepool_tx.config.names import UniqueNames
from nodepool_tx.config.operations import Ldap, LdapSearch, Leases, Manhole, Operations, Token
from nodepool_tx.config.section import Cursor, Section

__all__ = ["read_operations"]

_KEYS = frozenset({"audit-log", "ldap", "leases", "manhole"})
_LDAP_KEYS = frozenset({"url", "group", "ca", "user-dn", "search", "timeout"})
_SEARCH_KEYS = frozenset({"base", "filter", "bind-dn", "bind-password"})
_MANHOLE_KEYS = frozenset(
    {"port", "listen-address", "host-key", "authorized-keys", "ldap-group", "passwords"}
)
_LEASES_KEYS = frozenset(
    {
        "tokens",
        "ldap",
        "ldap-group",
        "tenant",
        "ttl",
        "max-ttl",
        "max-leases",
        "requests-per-minute",
    }
)
_TOKEN_KEYS = frozenset({"name", "sha256", "tenant"})

_SECURE_KEYS = frozenset({"ldap", "leases"})
_SECURE_LDAP_KEYS = frozenset({"search"})
_SECURE_SEARCH_KEYS = frozenset({"bind-password"})
_SECURE_LEASES_KEYS = frozenset({"tokens"})

_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
#: Where the name of whoever logs in goes.
_USER = "{user}"


def read_operations(top: Section | None, secure: Section | None) -> Operations:
    """What the section says; whatever is wrong is noted where it stands.

    :param top: the top of the configuration; None if that could not be read.
    :param secure: the top of the secure file; None if there is none.
    """
    if top is None:
        return Operations()
    section = _below(top, "nodepool-tx", "what operators are offered", _KEYS)
    secrets = _below(secure, "nodepool-tx", "what operators are offered", _SECURE_KEYS)
    secret_ldap = _below(secrets, "ldap", "a directory", _SECURE_LDAP_KEYS)
    secret_search = _below(secret_ldap, "search", "the search for users", _SECURE_SEARCH_KEYS)
    secret_leases = _below(secrets, "leases", "the leases", _SECURE_LEASES_KEYS)
    ldap_section = _below(section, "ldap", "a directory", _LDAP_KEYS)
    ldap = _ldap(ldap_section, secret_search)
    manhole = _below(section, "manhole", "the console", _MANHOLE_KEYS)
    leases = _below(section, "leases", "the leases", _LEASES_KEYS)
    return Operations(
        manhole=_manhole(manhole, ldap_section is not None),
        leases=_leases(leases, secret_leases, ldap_section is not None),
        ldap=ldap,
        audit_log=None if section is None else _path(section, "audit-log"),
    )


def _below(above: Section | None, key: str, what: str, known: frozenset[str]) -> Section | None:
    place = None if above is None else above.at(key)
    return None if place is None else place.section(what, known)


def _path(section: Section, key: str) -> str | None:
    place = section.at(key)
    path = None if place is None else place.text("the path of a file")
    if place is not None and path is not None and not path.startswith("/"):
        place.error("must be an absolute path", "the launcher changes its directory at the start")
    return path


# -- the directory ---------------------------------------------------------


def _ldap(section: Section | None, secrets: Section | None) -> Ldap | None:
    if section is None:
        if secrets is not None:
            secrets.cursor.error("there is no directory in the configuration that this is for")
        return None
    url = section.required("url")
    group = section.required("group")
    user_dn = section.at("user-dn")
    search = _below(section, "search", "the search for users", _SEARCH_KEYS)
    if user_dn is None and search is None and not section.has("search"):
        section.cursor.error("needs either user-dn or search, to know a user's entry")
    elif user_dn is not None and section.has("search"):
        user_dn.error("cannot be given together with search")
    if search is None and secrets is not None:
        secrets.cursor.error("there is no search in the configuration that this is for")
    return Ldap(
        url=(None if url is None else _url(url)) or "",
        group=(None if group is None else _dn(group)) or "",
        ca=_path(section, "ca"),
        user_dn=None if user_dn is None else _template(user_dn, "a DN"),
        search=None if search is None else _search(search, secrets),
        timeout=section.seconds("timeout", 5.0),
    )


def _url(place: Cursor) -> str | None:
    text = place.word("a URL")
    if text is None:
        return None
    parts = _parted(text)
    if parts is None or parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
        place.error("must be ldap://host or ldaps://host, with a port if it is not the usual one")
    elif parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        place.error("must name a host and at most a port", "DNs have keys of their own")
    return text


def _parted(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        # Looking at the port checks it.
        return parts if parts.port != 0 else None
    except ValueError:
        return None


def _dn(place: Cursor) -> str | None:
    text = place.text("a DN")
    if text is not None and "=" not in text:
        place.error("must be a DN, such as cn=operators,ou=groups,dc=example,dc=com")
    return text


def _template(place: Cursor, what: str) -> str | None:
    text = place.text(what)
    if text is not None and _USER not in text:
        place.error(f"must contain {_USER}, where the name of the user goes")
    elif text is not None and "=" not in text:
        place.error(f"must be {what}, such as uid={_USER},ou=people,dc=example,dc=com")
    return text


def _search(section: Section, secrets: Section | None) -> LdapSearch:
    base = section.required("base")
    below = section.at("filter")
    words = LdapSearch(base="").filter if below is None else _filter(below)
    bind_dn = section.at("bind-dn")
    password = section.text("bind-password", "")
    if secrets is not None:
        password = secrets.text("bind-password", password)
    if bind_dn is not None and not password:
        bind_dn.error(
            "needs bind-password, here or in the secure file",
            "without a password a server lets anybody in as nobody in particular",
        )
    elif bind_dn is None and password:
        section.cursor.error("has a bind-password but no bind-dn")
    return LdapSearch(
        base=(None if base is None else _dn(base)) or "",
        filter=words or "",
        bind_dn=(None if bind_dn is None else _dn(bind_dn)) or "",
        bind_password=password,
    )


def _filter(place: Cursor) -> str | None:
    text = _template(place, "a filter")
    if text is None or _USER not in text:
        return text
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth < 0 or (depth == 0 and at < len(text) - 1):
            depth = -1
            break
    if depth:
        place.error(f"must be one filter in parentheses, such as (uid={_USER})")
    return text


# -- the console -----------------------------------------------------------


def _manhole(section: Section | None, directory: bool) -> Manhole | None:
    if section is None:
        return None
    section.required("port")
    passwords = section.boolean("passwords", False)
    group = section.at("ldap-group")
    if passwords and not directory:
        (section.at("passwords") or section.cursor).error(
            "there is no directory against which people could log in", "add ldap"
        )
    if group is not None and not passwords:
        group.warning("has no meaning without passwords: true")
    if not passwords and not section.has("authorized-keys"):
        section.cursor.error("nobody could log in", "add authorized-keys, or passwords: true")
    return Manhole(
        port=section.integer("port", 0, minimum=0, maximum=65535),
        listen_address=section.text("listen-address", "127.0.0.1"),
        host_key=_path(section, "host-key"),
        authorized_keys=_path(section, "authorized-keys"),
        ldap_group=None if group is None else _dn(group),
        passwords=passwords,
    )


# -- leases ----------------------------------------------------------------


def _leases(section: Section | None, secrets: Section | None, directory: bool) -> Leases | None:
    if section is None:
        if secrets is not None:
            secrets.cursor.error("there are no leases in the configuration that this is for")
        return None
    named = secrets if secrets is not None and secrets.has("tokens") else section
    tokens = _tokens(named.items("tokens"))
    ldap = section.boolean("ldap", False)
    group = section.at("ldap-group")
    if ldap and not directory:
        (section.at("ldap") or section.cursor).error(
            "there is no directory against which people could log in", "add ldap beside leases"
        )
    if group is not None and not ldap:
        group.warning("has no meaning without ldap: true")
    if not ldap and not tokens and not named.has("tokens"):
        section.cursor.error("nobody could ask for anything", "add tokens, or ldap: true")
    default = Leases()
    ttl = section.seconds("ttl", default.ttl)
    max_ttl = section.seconds("max-ttl", max(default.max_ttl, ttl))
    if ttl > max_ttl:
        (section.at("ttl") or section.cursor).error("must not be more than max-ttl")
    return Leases(
        tokens=tokens,
        ldap=ldap,
        ldap_group=None if group is None else _dn(group),
        tenant=section.text("tenant", None),
        ttl=ttl,
        max_ttl=max_ttl,
        max_leases=section.integer("max-leases", default.max_leases, minimum=1),
        requests_per_minute=section.integer(
            "requests-per-minute", default.requests_per_minute, minimum=1
        ),
    )


def _tokens(places: list[Cursor]) -> tuple[Token, ...]:
    names = UniqueNames("token")
    first: dict[str, Cursor] = {}
    tokens: list[Token] = []
    for place in places:
        section = place.section("a token", _TOKEN_KEYS)
        if section is None:
            continue
        name = names.read(section)
        hashed = section.required("sha256")
        digest = None if hashed is None else hashed.word("a hash")
        tenant = section.text("tenant", None)
        if hashed is None or digest is None:
            continue
        if _SHA256.match(digest) is None:
            hashed.error(
                "must be a SHA-256 in 64 hexadecimal digits",
                "printf %s TOKEN | sha256sum makes one",
            )
        elif first.setdefault(digest.lower(), hashed) is not hashed:
            hashed.error(f"is that of the token in line {first[digest.lower()].line}")
        if name is not None:
            tokens.append(Token(name, digest.lower(), tenant))
    return tuple(tokens)
