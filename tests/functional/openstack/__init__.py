"""What is shown with a real OpenStack; see :mod:`tests.servers.openstack` for what it has."""
