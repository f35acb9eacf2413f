"""What disk images inherit, and what the secure file adds to them."""

from __future__ import annotations

from nodepool_tx.config import DiskImage, FrozenMapping
from nodepool_tx.config.diskimages import MAX_PARENTS
from tests.config.parsing import errors_of, parse


def test_defaults() -> None:
    """An image needs a name."""
    assert parse("diskimages: [{name: i}]").diskimages == FrozenMapping(
        {
            "i": DiskImage(
                name="i",
                elements=(),
                env_vars=FrozenMapping(),
                formats=frozenset(),
                keep_formats=frozenset(),
                delete_after_upload=False,
                pause=False,
                release="",
                rebuild_age=86400,
                build_timeout=28800,
                dib_cmd="disk-image-create",
                username="zuul",
                python_path="auto",
                shell_type=None,
                metadata=FrozenMapping(),
            )
        }
    )


def test_inheritance() -> None:
    """Elements add up from the oldest, variables update, the rest overrides;
    abstract images are only inherited from."""
    images = parse(
        """
        diskimages:
          - name: child
            parent: middle
            elements: [c]
            env-vars: {B: child, C: child, EMPTY: ""}
            pause: false
            release: 21
            formats: [raw]
          - name: middle
            abstract: true
            parent: base
            elements: [b]
            env-vars: {A: middle, B: middle}
            build-timeout: 9
          - name: base
            abstract: true
            elements: [a, a2]
            env-vars: {A: base, Z: base}
            build-timeout: 1
            rebuild-age: 2
            dib-cmd: dib
            pause: true
            release: old
            username: base
            python-path: /p
            shell-type: csh
            formats: [qcow2, vhd]
            keep-formats: [vhd]
            delete-after-upload: true
            metadata: {k: v}
        """
    ).diskimages
    assert images == FrozenMapping(
        {
            "child": DiskImage(
                name="child",
                elements=("a", "a2", "b", "c"),
                env_vars=FrozenMapping(
                    {"A": "middle", "B": "child", "C": "child", "Z": "base", "EMPTY": ""}
                ),
                formats=frozenset({"raw"}),
                keep_formats=frozenset({"vhd"}),
                delete_after_upload=True,
                pause=False,
                release="21",
                rebuild_age=2,
                build_timeout=9,
                dib_cmd="dib",
                username="base",
                python_path="/p",
                shell_type="csh",
                metadata=FrozenMapping({"k": "v"}),
            )
        }
    )


def test_an_image_can_be_a_parent_and_be_built() -> None:
    """A parent that is not abstract stays an image of its own."""
    images = parse("diskimages: [{name: a, elements: [x]}, {name: b, parent: a}]").diskimages
    assert [image.elements for image in images.values()] == [("x",), ("x",)]


def test_a_circle_is_found_at_each_of_its_images() -> None:
    """Every image of the circle is named with it; one that leads into it is not."""
    errors = errors_of(
        "diskimages: [{name: a, parent: b}, {name: b, parent: c}, {name: c, parent: b}]"
    )
    assert [(error.path, error.message) for error in errors.errors] == [
        ("diskimages[1].parent", "inherits from itself: b -> c -> b"),
        ("diskimages[2].parent", "inherits from itself: c -> b -> c"),
    ]


def test_a_missing_parent_is_said_once() -> None:
    """Only the image that names it has the error."""
    (error,) = errors_of("diskimages: [{name: a, parent: x}, {name: b, parent: a}]").errors
    assert error.path == "diskimages[0].parent"


def test_longest_line_of_parents() -> None:
    """So many parents are taken and not one more."""
    images = ["{name: i0}", *(f"{{name: i{n}, parent: i{n - 1}}}" for n in range(1, 40))]
    most = parse(f"diskimages: [{', '.join(images[: MAX_PARENTS + 1])}]")
    assert len(most.diskimages) == MAX_PARENTS + 1
    (error,) = errors_of(f"diskimages: [{', '.join(images[: MAX_PARENTS + 2])}]").errors
    assert error.path == f"diskimages[{MAX_PARENTS + 1}].parent"


MAIN = """
zookeeper-servers: [{host: main}]
zookeeper-tls: {cert: c, key: k, ca: a}
diskimages:
  - {name: base, abstract: true, env-vars: {A: base}}
  - {name: i, parent: base, env-vars: {B: main}}
  - {name: j, parent: i}
"""


def test_the_secure_file_replaces_and_adds() -> None:
    """Its servers and TLS files replace the main ones, its variables update
    those of the one image they are for."""
    config = parse(
        MAIN,
        secure="""
            zookeeper-servers: [{host: secure}]
            zookeeper-tls: {cert: c2, key: k2, ca: a2}
            diskimages: [{name: i, env-vars: {B: secret, C: more}}]
            """,
    )
    assert [server.host for server in config.zookeeper_servers] == ["secure"]
    assert config.zookeeper_tls is not None
    assert config.zookeeper_tls.cert == "c2"
    assert config.diskimages["i"].env_vars == FrozenMapping(
        {"A": "base", "B": "secret", "C": "more"}
    )
    assert config.diskimages["j"].env_vars == FrozenMapping({"A": "base", "B": "main"})
    assert "secret" not in repr(config)


def test_an_empty_secure_file_changes_nothing() -> None:
    """Nothing, comments and empty sections leave the main file as it is."""
    for secure in ("", "# later\n", "zookeeper-servers: []\nzookeeper-tls: {}\ndiskimages:\n"):
        assert parse(MAIN, secure=secure) == parse(MAIN)


def test_what_the_secure_file_may_not_say() -> None:
    """Images must exist and not be abstract, and only its own keys are taken."""
    errors = errors_of(
        MAIN,
        secure="""\
            diskimages:
              - {name: i, env-vars: {A: 1}}
              - {name: base, env-vars: {A: x}}
              - {name: ij, env-vars: {A: x}}
              - {name: j}
              - {name: i, env-vars: {}, elements: []}
            labels: []
            """,
    )
    assert [(error.file, error.line, error.path) for error in errors.errors] == [
        ("secure", 2, "diskimages[0].env-vars.A"),
        ("secure", 3, "diskimages[1].name"),
        ("secure", 4, "diskimages[2].name"),
        ("secure", 5, "diskimages[3]"),
        ("secure", 6, "diskimages[4].name"),
        ("secure", 6, "diskimages[4].elements"),
        ("secure", 7, "labels"),
    ]
    assert "abstract" in errors.errors[1].message
    assert "given twice, first in line 2" in errors.errors[4].message


def test_secrets_do_not_appear_in_messages() -> None:
    """Neither values of the secure file nor those from the environment."""
    errors = errors_of(
        "max-hold-age: '%(NODEPOOL_PASSWORD)'\ndiskimages: [{name: i}]",
        secure="diskimages: [{name: i, env-vars: {A: 424242}}]",
        env={"NODEPOOL_PASSWORD": "hunter2"},
    )
    assert len(errors.errors) == 2
    assert "hunter2" not in str(errors)
    assert "424242" not in str(errors)
