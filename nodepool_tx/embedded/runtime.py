"""Finding what an embedded ZooKeeper runs on: Java and Debian's jars.

The jars are named one by one.  All of ``/usr/share/java`` would bring two
SLF4J bridges to log4j that point at each other, and cost start-up time.
"""

from __future__ import annotations

import os
import pathlib
import shutil

import attrs

__all__ = ["MissingRuntime", "Runtime", "find_runtime"]

#: Where Debian's packages put their jars.
JAR_DIRECTORY = pathlib.Path("/usr/share/java")

_REQUIRED = ("zookeeper", "zookeeper-jute", "slf4j-api", "metrics-core", "snappy-java")
#: Any of these pairs logs as our log4j configuration says.
_LOGGING = (("slf4j-log4j12", "log4j-1.2"), ("slf4j-reload4j", "reload4j"))
#: Taken along where they are: what some versions load, and others do not have.
_OPTIONAL = (
    "commons-cli",
    "commons-io",
    "netty-common",
    "netty-buffer",
    "netty-codec",
    "netty-handler",
    "netty-resolver",
    "netty-transport",
    "netty-transport-native-epoll",
    "netty-transport-native-unix-common",
)


class MissingRuntime(Exception):
    """Java or ZooKeeper is not installed; the text is one line and names the package."""


@attrs.frozen
class Runtime:
    """What to start ZooKeeper with.

    :ivar java: path of the java program.
    :ivar classpath: paths of jars, in order.
    """

    java: str
    classpath: tuple[str, ...]


def find_runtime(
    jar_directory: pathlib.Path = JAR_DIRECTORY, search_path: str | None = None
) -> Runtime:
    """Find Java and the jars.

    :param search_path: directories to find ``java`` in, as in ``$PATH``
        (which it defaults to).  ``$JAVA_HOME`` is looked at first.
    :raises MissingRuntime: something is not there.
    """
    java = _find_java(search_path)
    required = [jar_directory / f"{name}.jar" for name in _REQUIRED]
    for jar in required:
        if not jar.is_file():
            raise MissingRuntime(
                f"cannot run an embedded ZooKeeper: {jar} is not there; install it with"
                " 'apt install zookeeper', or name your servers under zookeeper-servers"
            )
    optional = [jar_directory / f"{name}.jar" for name in _OPTIONAL]
    jars = [*required, *_find_logging(jar_directory), *(jar for jar in optional if jar.is_file())]
    return Runtime(java, tuple(map(str, jars)))


def _find_java(search_path: str | None) -> str:
    home = os.environ.get("JAVA_HOME") if search_path is None else None
    at_home = shutil.which("java", path=os.path.join(home, "bin")) if home else None
    java = at_home or shutil.which("java", path=search_path)
    if java is None:
        raise MissingRuntime(
            "cannot run an embedded ZooKeeper: there is no java; install it with"
            " 'apt install default-jre-headless', or name your servers under zookeeper-servers"
        )
    return java


def _find_logging(jar_directory: pathlib.Path) -> list[pathlib.Path]:
    for pair in _LOGGING:
        jars = [jar_directory / f"{name}.jar" for name in pair]
        if all(jar.is_file() for jar in jars):
            return jars
    raise MissingRuntime(
        f"cannot run an embedded ZooKeeper: {jar_directory} has no slf4j-log4j12.jar with"
        " log4j-1.2.jar; install them with 'apt install libslf4j-java liblog4j1.2-java'"
    )
