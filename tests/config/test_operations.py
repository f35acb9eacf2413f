"""The section ``nodepool-tx``."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest

from nodepool_tx.config import operations_section
from nodepool_tx.config.operations import Ldap, LdapSearch, Leases, Manhole, Operations, Token
from tests.config.parsing import errors_of, parse

BASE = "labels: []\nproviders: []\n"
SAMPLE = Path(__file__).parents[2] / "etc" / "nodepool.yaml.sample"

DIRECTORY = """
ldap:
  url: ldap://directory.example.com
  group: cn=ops,dc=example,dc=com
  user-dn: uid={user},dc=example,dc=com
"""
SEARCHED = """
ldap:
  url: ldaps://directory.example.com:6636
  group: cn=ops,dc=example,dc=com
  search: {base: "dc=example,dc=com", bind-dn: "cn=svc,dc=example,dc=com"%s}
"""
HASH = "ab" * 32


def section(text: str) -> str:
    return f"{BASE}nodepool-tx:\n{indent(text, '  ')}"


def operations(text: str, secure: str | None = None) -> Operations:
    return parse(section(text), None if secure is None else secure_section(secure)).operations


def secure_section(text: str) -> str:
    return f"nodepool-tx:\n{indent(text, '  ')}"


def test_nothing_is_offered_by_default() -> None:
    """Neither without the section nor with an empty one."""
    assert parse(BASE).operations == Operations()
    assert parse(BASE + "nodepool-tx: {}\n").operations == Operations()
    assert parse(BASE + "nodepool-tx:\n").operations == Operations()


def test_everything_that_is_said_is_read() -> None:
    """With the defaults of what is not said."""
    read = operations(
        DIRECTORY
        + "  ca: /ca.pem\n  timeout: 2.5\n"
        + "manhole: {port: 2222, authorized-keys: /keys, passwords: true, ldap-group: cn=a}\n"
        + f"leases: {{ldap: true, tokens: [{{name: ci, sha256: {HASH.upper()}, tenant: t}}]}}\n"
        + "audit-log: /audit\n"
    )
    assert read == Operations(
        manhole=Manhole(port=2222, authorized_keys="/keys", passwords=True, ldap_group="cn=a"),
        leases=Leases(ldap=True, tokens=(Token("ci", HASH, "t"),)),
        ldap=Ldap(
            url="ldap://directory.example.com",
            group="cn=ops,dc=example,dc=com",
            ca="/ca.pem",
            user_dn="uid={user},dc=example,dc=com",
            timeout=2.5,
        ),
        audit_log="/audit",
    )


def test_secrets_come_from_the_secure_file() -> None:
    """They take the place of the configuration's, and make the reading complete."""
    read = operations(
        SEARCHED % "" + f"leases: {{tokens: [{{name: old, sha256: {HASH}}}]}}",
        "ldap: {search: {bind-password: tell-nobody}}\n"
        f"leases: {{tokens: [{{name: new, sha256: {HASH}}}]}}",
    )
    assert read.ldap is not None
    assert read.ldap.search == LdapSearch(
        base="dc=example,dc=com",
        bind_dn="cn=svc,dc=example,dc=com",
        bind_password="tell-nobody",
    )
    assert read.leases == Leases(tokens=(Token("new", HASH),))
    assert "tell-nobody" not in repr(read)
    assert HASH not in repr(read)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("manhole: {authorized-keys: /k}", "manhole", "needs the key 'port'"),
        ("manhole: {port: 22222222, authorized-keys: /k}", "manhole.port", "65535 or less"),
        ("manhole: {port: 1}", "manhole", "nobody could log in"),
        ("manhole: {port: 1, authorized-keys: k}", "manhole.authorized-keys", "absolute path"),
        ("manhole: {port: 1, passwords: true}", "manhole.passwords", "no directory"),
        ("manhole: {port: 1, authorized-keys: /k, key: /k}", "manhole.key", "has no such key"),
        ("audit-log: audit.log", "audit-log", "absolute path"),
        ("ldap: {url: ldap://a, user-dn: 'a={user}'}", "ldap", "needs the key 'group'"),
        ("ldap: {group: cn=a, user-dn: 'a={user}'}", "ldap", "needs the key 'url'"),
        ("ldap: {url: ldap://a, group: cn=a}", "ldap", "either user-dn or search"),
        ("ldap: {url: ldap://a, group: ops, user-dn: 'a={user}'}", "ldap.group", "must be a DN"),
        ("ldap: {url: http://a, group: a=b, user-dn: 'a={user}'}", "ldap.url", "ldap://host"),
        ("ldap: {url: 'ldap://', group: a=b, user-dn: 'a={user}'}", "ldap.url", "ldap://host"),
        ("ldap: {url: 'ldap://a:x', group: a=b, user-dn: 'a={user}'}", "ldap.url", "ldap://host"),
        ("ldap: {url: 'ldap://a:0', group: a=b, user-dn: 'a={user}'}", "ldap.url", "ldap://host"),
        ("ldap: {url: 'ldap://[a', group: a=b, user-dn: 'a={user}'}", "ldap.url", "ldap://host"),
        ("ldap: {url: ldap://a/dc=b, group: a=b, user-dn: 'a={user}'}", "ldap.url", "at most a"),
        ("ldap: {url: ldap://a, group: a=b, user-dn: 'uid=me'}", "ldap.user-dn", "{user}"),
        (
            "ldap: {url: ldap://a, group: a=b, user-dn: 'a={user}', timeout: 0}",
            "ldap.timeout",
            "above zero",
        ),
        (
            "ldap: {url: ldap://a, group: a=b, user-dn: 'a={user}', search: {base: 'a=b'}}",
            "ldap.user-dn",
            "together with search",
        ),
        (SEARCHED % "", "ldap.search.bind-dn", "needs bind-password"),
        (
            "ldap: {url: ldap://a, group: a=b, search: {base: 'a=b', bind-password: x}}",
            "ldap.search",
            "no bind-dn",
        ),
        (
            "ldap: {url: ldap://a, group: a=b, search: {base: 'a=b', filter: 'uid={user}'}}",
            "ldap.search.filter",
            "one filter in parentheses",
        ),
        (
            "ldap: {url: ldap://a, group: a=b, search: {base: 'a=b', filter: '(a={user})(b=c)'}}",
            "ldap.search.filter",
            "one filter in parentheses",
        ),
        (
            "ldap: {url: ldap://a, group: a=b, search: {base: 'a=b', filter: '(uid=*)'}}",
            "ldap.search.filter",
            "must contain {user}",
        ),
        ("leases: {ttl: 5}", "leases", "nobody could ask"),
        ("leases: {ldap: true}", "leases.ldap", "no directory"),
        (
            f"leases: {{tokens: [{{name: a, sha256: {HASH}}}], ttl: 7, max-ttl: 6}}",
            "leases.ttl",
            "more than max-ttl",
        ),
        ("leases: {tokens: [{name: a}]}", "leases.tokens[0]", "needs the key 'sha256'"),
        (
            "leases: {tokens: [{name: a, sha256: secret}]}",
            "leases.tokens[0].sha256",
            "64 hexadecimal digits",
        ),
        (
            f"leases: {{tokens: [{{name: a, sha256: {HASH}}}, {{name: a, sha256: {'cd' * 32}}}]}}",
            "leases.tokens[1].name",
            "given twice",
        ),
        (
            f"leases: {{tokens: [{{name: a, sha256: {HASH}}}, {{name: b, sha256: {HASH}}}]}}",
            "leases.tokens[1].sha256",
            "is that of the token in line",
        ),
        (
            f"leases: {{tokens: [{{name: a, sha256: {HASH}}}], max-leases: 0}}",
            "leases.max-leases",
            "1 or more",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, path: str, words: str) -> None:
    """The file, the line and the path of each, and nothing else."""
    (error,) = errors_of(section(text)).errors
    assert error.path == f"nodepool-tx.{path}"
    assert words in str(error)
    assert error.file == "main"
    assert error.line > 2


@pytest.mark.parametrize(
    ("secure", "path", "words"),
    [
        ("ldap: {search: {bind-password: x}}", "ldap.search", "no directory"),
        ("leases: {tokens: []}", "leases", "no leases"),
        ("ldap: {url: ldap://a}", "ldap.url", "no such key"),
    ],
)
def test_mistakes_of_the_secure_file(secure: str, path: str, words: str) -> None:
    """What nothing in the configuration is for is a mistake."""
    errors = errors_of(section("audit-log: /a"), secure_section(secure)).errors
    assert any(e.file == "secure" and e.path == f"nodepool-tx.{path}" for e in errors)
    assert words in "\n".join(map(str, errors))


def test_no_secret_is_quoted() -> None:
    """A mistake in the secure file is told without what stands there."""
    errors = errors_of(
        section("audit-log: /a\n" + SEARCHED % ""),
        secure_section("ldap: {search: {bind-password: 12345678}}"),
    )
    assert "12345678" not in str(errors)


def test_the_sample_shows_every_key() -> None:
    """With its comment signs taken away the section loads, and has all there is."""
    text = SAMPLE.read_text(encoding="utf-8")
    begin = text.index("\nnodepool-tx:")
    end = text.index("# --- Labels")
    text = text[:begin] + re.sub(r"(?m)^#", "", text[begin:end]) + text[end:]
    config = parse(text)
    assert config.warnings == ()
    told = config.operations
    assert told.manhole is not None
    assert told.leases is not None
    assert told.ldap is not None
    used = set(re.findall(r"(?m)^ +(?:# +)?(?:- )?([a-z0-9-]+):", text[begin:]))
    for keys in (
        operations_section._KEYS,
        operations_section._LDAP_KEYS,
        operations_section._SEARCH_KEYS,
        operations_section._MANHOLE_KEYS,
        operations_section._LEASES_KEYS,
        operations_section._TOKEN_KEYS,
    ):
        assert keys <= used
