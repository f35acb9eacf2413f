"""A real OpenStack on loopback, as far as a client can tell.

Keystone, Glance, Placement, Nova, Neutron and the API of Cinder, from PyPI and
as they are in production; below them MariaDB, RabbitMQ and memcached from
Debian.  Only the hypervisor is Nova's own fake, and one driver of Neutron calls
every port bound.  What is missing on the machine is installed.

    with OpenStack() as cloud:
        cloud.clouds_yaml      # set OS_CLIENT_CONFIG_FILE to it

``python -m tests.servers.openstack`` runs one until Ctrl-C, to try things out.

There are three clouds in the file: ``real`` is an administrator, ``real-member``
an ordinary user, ``real-quota`` the same user in a project with three servers
at most.  All three see the flavors ``m1.tiny``, ``m1.small``, ``m1.large`` and
``m1.impossible`` (which no host has room for), the image ``tiny``, the shared
network ``private`` and the external one ``public`` with a router between them,
and the key pair ``key``.  There are two availability zones: ``az1``, and
``broken``, where every server ends in ERROR.  Servers do not boot.
"""

from tests.servers.openstack.bed import OpenStack

__all__ = ["OpenStack"]
