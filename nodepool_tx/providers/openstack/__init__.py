"""The OpenStack driver: Nova, Neutron, Glance and Cinder behind the adapter."""
