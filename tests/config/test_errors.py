"""What is wrong is said with its place: each kind of error in one table."""

from __future__ import annotations

import pytest

from nodepool_tx.config import ConfigError, ConfigErrors, load_config
from nodepool_tx.config.errors import MAX_ERRORS
from tests.config.parsing import errors_of, static_provider

NODE = "providers[0].pools[0].nodes"

#: A name for the case, the text, line, column, path, words of the message.
TABLE: list[tuple[str, str, int, int, str, str]] = [
    # The document as a whole
    ("empty", "", 0, 0, "", "is empty"),
    ("only a comment", "# nothing\n", 0, 0, "", "is empty"),
    ("a list", "\n- labels\n", 2, 1, "", "must be a mapping"),
    ("a text", "labels", 1, 1, "", "must be a mapping"),
    ("null", "null", 1, 1, "", "must be a mapping"),
    ("two documents", "labels:\n---\nlabels:\n", 2, 1, "", "second YAML document"),
    ("tab", "labels:\n\t- name: a\n", 2, 1, "", "this is a tab"),
    ("open quote", "labels: 'a\nb: c\n", 3, 1, "", "begins in line 1"),
    ("open list", "labels: [a,\nb: c\n", 3, 1, "", "is not valid YAML"),
    ("bad indent", "a: b\n c: d\n", 2, 3, "", "is not valid YAML"),
    ("quotes needed", "a: @b\n", 1, 4, "", "text that begins with @ needs quotes"),
    ("unset in front", "a:\n  b: %(NODEPOOL_X)\n", 2, 6, "", "NODEPOOL_X is not set"),
    ("control character", "labels:\n  a\x07b", 2, 4, "", "U+0007"),
    ("unknown alias", "labels: *x\n", 1, 9, "", "*x was not defined"),
    ("alias of itself", "labels: &x [*x]\n", 1, 13, "", "*x lies inside"),
    ("anchor twice", "labels: &x []\nproviders: &x []\n", 2, 12, "", "&x is given twice"),
    ("key twice", "labels: []\nwebapp: {}\nlabels: []\n", 3, 1, "labels", "first in line 1"),
    ("deep key twice", "labels:\n- name: a\n  name: b\n", 3, 3, "labels[0].name", "twice"),
    ("merge of a text", "webapp:\n  <<: x\n", 2, 3, "", "takes a mapping"),
    ("a mapping as key", "? {a: b}\n: c\n", 1, 3, "", "cannot be a key"),
    ("python object", "labels: !!python/object:x {}\n", 1, 9, "", "no meaning here"),
    ("unknown tag", "labels: !x y\n", 1, 9, "", "no meaning here"),
    ("no such date", "labels: 2024-13-45\n", 1, 9, "", "looks like a date"),
    ("too deep", "labels: " + "[" * 100, 1, 72, "", "levels deep"),
    # Keys and types
    ("unknown key", "webap: {}\n", 1, 1, "webap", "did you mean webapp?"),
    ("unknown key folded", "Build_Log_Dir: x\n", 1, 1, "Build_Log_Dir", "build-log-dir?"),
    ("key that is a number", "1: {}\n", 1, 1, "1", "has no such key"),
    ("webapp key", "webapp: {listen-address: x}\n", 1, 10, "webapp.listen-address", "listen_a"),
    ("not a list", "labels: {name: a}\n", 1, 9, "labels", "must be a list, not a mapping"),
    ("not a mapping", "webapp: 80\n", 1, 9, "webapp", "not a whole number: 80"),
    ("item not a mapping", "labels: [a]\n", 1, 10, "labels[0]", "describes a label"),
    ("number for text", "images-dir: 5\n", 1, 13, "images-dir", "in quotes: '5'"),
    ("bool for text", "images-dir: no\n", 1, 13, "images-dir", "true or false: no (put"),
    ("date for text", "images-dir: 2024-01-02\n", 1, 13, "images-dir", "a date: 2024-01-02"),
    ("empty text", "images-dir: ' '\n", 1, 13, "images-dir", "must not be empty"),
    ("text for number", "max-hold-age: '5'\n", 1, 15, "max-hold-age", "remove the quotes"),
    ("bool for number", "max-hold-age: true\n", 1, 15, "max-hold-age", "not true or false"),
    ("float for integer", "max-hold-age: 1.5\n", 1, 15, "max-hold-age", "a number: 1.5"),
    ("text for float", "zookeeper-timeout: x\n", 1, 20, "zookeeper-timeout", "of seconds"),
    ("bool for float", "zookeeper-timeout: yes\n", 1, 20, "zookeeper-timeout", "of seconds"),
    ("zero timeout", "zookeeper-timeout: 0\n", 1, 20, "zookeeper-timeout", "above zero"),
    ("endless timeout", "zookeeper-timeout: .inf\n", 1, 20, "zookeeper-timeout", "finite"),
    ("no timeout at all", "zookeeper-timeout: .nan\n", 1, 20, "zookeeper-timeout", "finite"),
    ("retention", "build-log-retention: -2\n", 1, 22, "build-log-retention", "-1 keeps all"),
    ("port too large", "webapp: {port: 65536}\n", 1, 16, "webapp.port", "65535 or less"),
    ("port below zero", "webapp: {port: -1}\n", 1, 16, "webapp.port", "0 or more"),
    (
        "unset number",
        "webapp: {port: '%(NODEPOOL_P)'}\n",
        1,
        16,
        "webapp.port",
        "NODEPOOL_P is not set",
    ),
    # ZooKeeper
    ("no host", "zookeeper-servers: [{port: 1}]", 1, 21, "zookeeper-servers[0]", "'host'"),
    ("null host", "zookeeper-servers:\n- host:\n", 2, 3, "zookeeper-servers[0].host", "a value"),
    (
        "port in host",
        "zookeeper-servers: [{host: 'zk:2181'}]",
        1,
        28,
        "zookeeper-servers[0].host",
        "a key of its own: port",
    ),
    (
        "port zero",
        "zookeeper-servers: [{host: a, port: 0}]",
        1,
        37,
        "zookeeper-servers[0].port",
        "1 or more",
    ),
    (
        "two chroots",
        "zookeeper-servers:\n- {host: a, chroot: /x}\n- {host: b, chroot: /y}\n",
        3,
        21,
        "zookeeper-servers[1].chroot",
        "the server in line 2",
    ),
    (
        "relative chroot",
        "zookeeper-servers: [{host: a, chroot: /x/../y}]",
        1,
        39,
        "zookeeper-servers[0].chroot",
        "not a path",
    ),
    ("incomplete TLS", "zookeeper-tls: {cert: a, ca: b}", 1, 16, "zookeeper-tls", "'key'"),
    (
        "TLS key",
        "zookeeper-tls: {cert: a, key: b, ca: c, x: d}",
        1,
        41,
        "zookeeper-tls.x",
        "no such",
    ),
    # Labels
    ("label without name", "labels: [{min-ready: 1}]", 1, 10, "labels[0]", "needs the key 'name'"),
    ("label is a number", "labels: [{name: 18}]", 1, 17, "labels[0].name", "'18'"),
    ("label with spaces", "labels: [{name: a b}]", 1, 17, "labels[0].name", "spaces"),
    ("label twice", "labels: [{name: a},\n  {name: a}]", 2, 10, "labels[1].name", "line 1"),
    ("min-ready", "labels: [{name: a, min-ready: -2}]", 1, 31, "labels[0].min-ready", "disables"),
    (
        "max-ready-age",
        "labels: [{name: a, max-ready-age: -1}]",
        1,
        35,
        "labels[0].max-ready-age",
        "0 stands for no limit",
    ),
    # Tenants
    (
        "tenant without name",
        "tenant-resource-limits: [{max-cores: 1}]",
        1,
        26,
        "tenant-resource-limits[0]",
        "'tenant-name'",
    ),
    (
        "tenant twice",
        "tenant-resource-limits: [{tenant-name: t}, {tenant-name: t}]",
        1,
        58,
        "tenant-resource-limits[1].tenant-name",
        "the tenant t is given twice",
    ),
    (
        "limit below zero",
        "tenant-resource-limits: [{tenant-name: t, gpu: -1}]",
        1,
        48,
        "tenant-resource-limits[0].gpu",
        "0 or more",
    ),
    (
        "limit of a number",
        "tenant-resource-limits: [{tenant-name: t, 5: 1}]",
        1,
        43,
        "tenant-resource-limits[0].5",
        "the name of a resource",
    ),
    # Providers and pools
    ("provider without name", "providers: [{driver: static}]", 1, 13, "providers[0]", "'name'"),
    ("no name, cloud", "providers: [{driver: aws}]", 1, 13, "providers[0]", "'name'"),
    (
        "unknown driver",
        "providers: [{name: r, driver: statc}]",
        1,
        31,
        "providers[0].driver",
        "did you mean static?",
    ),
    (
        "driver is a list",
        "providers: [{name: r, driver: [static]}]",
        1,
        31,
        "providers[0].driver",
        "the name of a driver",
    ),
    (
        "provider twice",
        "providers:\n- {name: r, driver: static}\n- {name: r, driver: aws}\n",
        3,
        10,
        "providers[1].name",
        "first in line 2",
    ),
    ("slash", "providers: [{name: a/b, driver: aws}]", 1, 20, "providers[0].name", "slash"),
    (
        "unknown key of a static provider",
        "providers: [{name: r, driver: static, cloud: x}]",
        1,
        39,
        "providers[0].cloud",
        "a static provider has no such key",
    ),
    (
        "concurrency",
        "providers: [{name: r, driver: static, max-concurrency: -2}]",
        1,
        56,
        "providers[0].max-concurrency",
        "-1 stands for no limit",
    ),
    (
        "priority of a cloud",
        "providers: [{name: r, driver: gce, priority: high}]",
        1,
        46,
        "providers[0].priority",
        "a whole number, not text: high",
    ),
    (
        "pool without name",
        "providers: [{name: r, driver: static, pools: [{}]}]",
        1,
        47,
        "providers[0].pools[0]",
        "'name'",
    ),
    (
        "pool twice",
        "providers:\n- name: r\n  driver: static\n  pools: [{name: p},\n          {name: p}]\n",
        5,
        18,
        "providers[0].pools[1].name",
        "first in line 4",
    ),
    (
        "pool of a cloud twice",
        "providers:\n- name: r\n  driver: aws\n  pools: [{name: p},\n          {name: p}]\n",
        5,
        18,
        "providers[0].pools[1].name",
        "first in line 4",
    ),
    (
        "max-servers",
        "providers: [{name: r, driver: static, pools: [{name: p, max-servers: -1}]}]",
        1,
        70,
        "providers[0].pools[0].max-servers",
        "without the key there is no limit",
    ),
    (
        "attributes",
        "providers: [{name: r, driver: static, pools: [{name: p, node-attributes: [a]}]}]",
        1,
        74,
        "providers[0].pools[0].node-attributes",
        "must be a mapping",
    ),
    (
        "date in attributes",
        "providers: [{name: r, driver: static, pools: [{name: p, node-attributes: "
        "{a: {b: 2024-01-02}}}]}]",
        1,
        82,
        "providers[0].pools[0].node-attributes.a.b",
        "put it in quotes",
    ),
    (
        "attribute twice for JSON",
        "providers: [{name: r, driver: static, pools: [{name: p, node-attributes: "
        "{1: a, '1': b}}]}]",
        1,
        81,
        "providers[0].pools[0].node-attributes.1",
        "with and without quotes",
    ),
    (
        "labels of a static pool",
        "providers: [{name: r, driver: static, pools: [{name: p, labels: [a]}]}]",
        1,
        57,
        "providers[0].pools[0].labels",
        "the labels of its nodes",
    ),
    (
        "label of OpenStack not defined",
        "labels: [{name: debian}]\n"
        "providers: [{name: r, cloud: c, cloud-images: [{name: x}],\n"
        " pools: [{name: p, labels: [{name: debain, min-ram: 1, cloud-image: x}]}]}]",
        3,
        36,
        "providers[0].pools[0].labels[0].name",
        "did you mean debian?",
    ),
    (
        "label of a cloud without name",
        "providers: [{name: r, driver: aws, pools: [{name: p, labels: [{image: x}]}]}]",
        1,
        63,
        "providers[0].pools[0].labels[0]",
        "'name'",
    ),
    (
        "image of OpenStack not defined",
        "providers: [{name: r, driver: openstack, cloud: c, diskimages: [{name: i}]}]",
        1,
        72,
        "providers[0].diskimages[0].name",
        "the diskimage i is not defined",
    ),
    # Static nodes
    ("node without name", static_provider("- {labels: a}"), 8, 13, f"{NODE}[0]", "'name'"),
    ("node without labels", static_provider("- {name: h}"), 8, 13, f"{NODE}[0]", "'labels'"),
    (
        "empty labels",
        static_provider("- {name: h, labels: []}"),
        8,
        31,
        f"{NODE}[0].labels",
        "at least one label",
    ),
    (
        "blank labels",
        static_provider("- {name: h, labels: ''}"),
        8,
        31,
        f"{NODE}[0].labels",
        "must not be empty",
    ),
    (
        "label not defined",
        static_provider("- {name: h, labels: [a, c]}"),
        8,
        35,
        f"{NODE}[0].labels[1]",
        "the label c is not defined (add it",
    ),
    (
        "label is a mapping",
        static_provider("- {name: h, labels: {name: a}}"),
        8,
        31,
        f"{NODE}[0].labels",
        "text or a list of texts",
    ),
    (
        "host name with a space",
        static_provider("- {name: h 1, labels: a}"),
        8,
        20,
        f"{NODE}[0].name",
        "spaces",
    ),
    (
        "timeout is text",
        static_provider("- {name: h, labels: a, timeout: '5'}"),
        8,
        43,
        f"{NODE}[0].timeout",
        "remove the quotes",
    ),
    (
        "timeout is zero",
        static_provider("- {name: h, labels: a, timeout: 0}"),
        8,
        43,
        f"{NODE}[0].timeout",
        "1 or more",
    ),
    (
        "port out of range",
        static_provider("- {name: h, labels: a, connection-port: 70000}"),
        8,
        51,
        f"{NODE}[0].connection-port",
        "65535 or less, not 70000",
    ),
    (
        "checking is text",
        static_provider("- {name: h, labels: a, host-key-checking: 'false'}"),
        8,
        53,
        f"{NODE}[0].host-key-checking",
        "remove the quotes",
    ),
    (
        "slots below zero",
        static_provider("- {name: h, labels: a, max-parallel-jobs: -1}"),
        8,
        53,
        f"{NODE}[0].max-parallel-jobs",
        "0 or more",
    ),
    (
        "host key is a number",
        static_provider("- {name: h, labels: a, host-key: [5]}"),
        8,
        45,
        f"{NODE}[0].host-key[0]",
        "a host key",
    ),
    (
        "misnamed key",
        static_provider("- {name: h, labels: a, port: 22}"),
        8,
        34,
        f"{NODE}[0].port",
        "did you mean connection-port?",
    ),
    (
        "unknown key of a node",
        static_provider("- {name: h, labels: a, usernam: x}"),
        8,
        34,
        f"{NODE}[0].usernam",
        "did you mean username?",
    ),
    (
        "one machine twice",
        static_provider("- {name: h, labels: a}\n- {name: h, labels: b, timeout: 3}"),
        9,
        20,
        f"{NODE}[1].name",
        "of the node in line 8 (providers[0].pools[0].nodes[0])",
    ),
    (
        "one machine in two pools",
        static_provider("- {name: h, labels: a}")
        + "      - name: more\n        nodes: [{name: h, labels: a}]\n",
        10,
        24,
        "providers[0].pools[1].nodes[0].name",
        "of the node in line 8",
    ),
    # Disk images
    ("image without name", "diskimages: [{pause: true}]", 1, 14, "diskimages[0]", "'name'"),
    (
        "image twice",
        "diskimages: [{name: i}, {name: i}]",
        1,
        32,
        "diskimages[1].name",
        "the diskimage i is given twice",
    ),
    (
        "parent not defined",
        "diskimages: [{name: debian}, {name: x, parent: debain}]",
        1,
        48,
        "diskimages[1].parent",
        "did you mean debian?",
    ),
    (
        "its own parent",
        "diskimages: [{name: i, parent: i}]",
        1,
        32,
        "diskimages[0].parent",
        "inherits from itself: i -> i",
    ),
    ("base", "diskimages: [{name: i, base: j}]", 1, 24, "diskimages[0].base", "mean parent?"),
    (
        "variable is a number",
        "diskimages: [{name: i, env-vars: {A: 1}}]",
        1,
        38,
        "diskimages[0].env-vars.A",
        "in quotes: '1'",
    ),
    (
        "variables are a list",
        "diskimages: [{name: i, env-vars: [A]}]",
        1,
        34,
        "diskimages[0].env-vars",
        "names to texts",
    ),
    (
        "release is a float",
        "diskimages: [{name: i, release: 8.10}]",
        1,
        33,
        "diskimages[0].release",
        "in quotes: '8.10'",
    ),
    (
        "rebuild-age",
        "diskimages: [{name: i, rebuild-age: 0}]",
        1,
        37,
        "diskimages[0].rebuild-age",
        "1 or more",
    ),
    (
        "elements is text",
        "diskimages: [{name: i, elements: vm}]",
        1,
        34,
        "diskimages[0].elements",
        "must be a list",
    ),
    (
        "pause is text",
        "diskimages: [{name: i, pause: 'no'}]",
        1,
        31,
        "diskimages[0].pause",
        "remove the quotes",
    ),
]


@pytest.mark.parametrize(
    ("text", "line", "column", "path", "words"),
    [case[1:] for case in TABLE],
    ids=[case[0] for case in TABLE],
)
def test_error(text: str, line: int, column: int, path: str, words: str) -> None:
    """Exactly this is said, at this place."""
    errors = errors_of(text)
    (error,) = errors.errors
    assert (error.file, error.line, error.column, error.path) == ("main", line, column, path)
    assert words in str(error)
    assert str(errors) == str(error)


def test_all_errors_at_once() -> None:
    """One reading finds every mistake, and they come in the order of the files."""
    errors = errors_of(
        """\
        providers:
          - name: rack
            driver: static
            pools:
              - name: main
                nodes:
                  - {name: h, labels: c, timeout: x}
        labels: [{}]
        webapp: {port: x}
        """,
        secure="zookeeper: []\n",
    )
    assert [(error.file, error.line, error.path) for error in errors.errors] == [
        ("main", 7, "providers[0].pools[0].nodes[0].labels"),
        ("main", 7, "providers[0].pools[0].nodes[0].timeout"),
        ("main", 8, "labels[0]"),
        ("main", 9, "webapp.port"),
        ("secure", 1, "zookeeper"),
    ]


def test_a_broken_secure_file_hides_nothing() -> None:
    """Both files are looked at even when neither can be parsed."""
    errors = errors_of("a: b: c", secure="[")
    assert [error.file for error in errors.errors] == ["main", "secure"]


def test_labels_that_cannot_be_read_are_not_missed() -> None:
    """When labels is no list, nothing is said about each label in use."""
    text = static_provider("- {name: h, labels: a}").replace("[{name: a}, {name: b}]", "nothing")
    (error,) = errors_of(text).errors
    assert error.path == "labels"


def test_a_wrong_port_does_not_make_two_nodes_one() -> None:
    """Nodes whose identity is in doubt are not compared with the others."""
    nodes = "- {name: h, labels: a}\n- {name: h, labels: a, connection-port: x}"
    (error,) = errors_of(static_provider(nodes)).errors
    assert error.path == f"{NODE}[1].connection-port"


def test_very_many_errors_are_counted() -> None:
    """Beyond a limit errors are counted instead of listed."""
    errors = errors_of("".join(f"key{number}: 1\n" for number in range(MAX_ERRORS + 50)))
    assert len(errors.errors) == MAX_ERRORS
    assert errors.omitted == 50
    assert errors.count == MAX_ERRORS + 50
    assert str(errors).endswith("\n... and 50 more")


def test_long_and_odd_values_stay_on_one_short_line() -> None:
    """A message is one line, however long or odd what it quotes."""
    text = 'max-hold-age: "' + "x" * 10_000 + '"\n? "a\\nb"\n: 1\n'
    for error in errors_of(text).errors:
        assert len(str(error)) < 200
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"labels:\n  - name: \xff\n", "main:2:11: is not text in UTF-8: byte 0xff at offset 18"),
        ("labels: []".encode("utf-16"), "main:1:1: is not text in UTF-8: byte 0xff at offset 0"),
        (b"\x00" * 100, "main:1:1: is not text: U+0000"),
    ],
)
def test_not_text(data: bytes, words: str) -> None:
    """Binary content is refused with the offset of what gave it away."""
    assert str(errors_of(data)).startswith(words)


def test_files_that_cannot_be_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """A file that is missing, a directory or far too large is one clear error."""
    missing, large = tmp_path / "missing.yaml", tmp_path / "large.yaml"
    with large.open("wb") as stream:
        stream.truncate(65 * 1024 * 1024)
    for path, words in [
        (str(missing), "does not exist"),
        (str(tmp_path), "is a directory"),
        (str(large), "is larger than 64 MiB"),
        ("nul\0", "cannot be read"),
    ]:
        with pytest.raises(ConfigErrors) as raised:
            load_config(path)
        (error,) = raised.value.errors
        assert error == ConfigError(path, 0, 0, "", error.message, error.hint)
        assert words in error.message


def test_aliases_that_stand_for_too_much() -> None:
    """Aliases of aliases of aliases are refused before they are followed."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (error,) = errors_of("\n".join(lines)).errors
    assert error.message == "aliases stand for too many values"


def test_aliases_that_nest_too_deep() -> None:
    """A chain of aliases is as deep as it would be written out."""
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 2000))]
    (error,) = errors_of("\n".join(lines)).errors
    assert "levels deep" in error.message
