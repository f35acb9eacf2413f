"""What Nodepool 11 makes of configuration files; run by its own Python.

Prints, for each file named, whether its validator accepts it and what its
loader makes of the providers of the drivers that we have, as JSON.
"""

import json
import logging
import math
import sys

PROVIDER = "boot_timeout launch_timeout launch_retries max_concurrency priority"
POOL = "max_servers node_attributes priority host_key_checking"
CLOUD = "image_upload_timeout image_name_format post_upload_hook port_cleanup_interval region_name"
CLOUD_POOL = "max_cores max_ram max_volumes max_volume_gb networks security_groups"
CLOUD_POOL += " auto_floating_ip ignore_provider_quota"
LABEL = "min_ram flavor_name key_name console_log boot_from_volume volume_size networks"
LABEL += " instance_properties dynamic_instance_properties userdata host_key_checking"
IMAGE = "name username python_path shell_type connection_type connection_port config_drive"
META = "backing_label max_parallel_jobs grace_time min_retention_time max_age host_key_checking"


def fields(thing, names):
    values = {name: getattr(thing, name) for name in names.split()}
    return {name: None if value == math.inf else value for name, value in values.items()}


def image(provider, label):
    if label.cloud_image is not None:
        found = fields(label.cloud_image, IMAGE)
        return {**found, "external": label.cloud_image.external_name}
    uploaded = provider.diskimages.get(label.diskimage.name)
    return None if uploaded is None else {**fields(uploaded, IMAGE + " meta pause")}


def openstack(provider):
    found = fields(provider, PROVIDER + " " + CLOUD)
    found["rate"] = provider.rate
    found["clean_floating_ips"] = bool(provider.clean_floating_ips)
    found["pools"] = {}
    for pool in provider.pools.values():
        found["pools"][pool.name] = fields(pool, POOL + " " + CLOUD_POOL)
        found["pools"][pool.name]["zones"] = pool.azs or []
        found["pools"][pool.name]["labels"] = {
            label.name: {**fields(label, LABEL), "image": image(provider, label)}
            for label in pool.labels.values()
        }
    return found


def metastatic(provider):
    found = fields(provider, PROVIDER)
    found["pools"] = {}
    for pool in provider.pools.values():
        found["pools"][pool.name] = fields(pool, POOL)
        found["pools"][pool.name]["labels"] = {
            label.name: fields(label, META) for label in pool.labels.values()
        }
    return found


def providers(path):
    from nodepool.config import loadConfig
    from nodepool.driver.metastatic.config import MetastaticProviderConfig
    from nodepool.driver.openstack.config import OpenStackProviderConfig

    found = {}
    for provider in loadConfig(path, {"NODEPOOL_PORT": "8005"}).providers.values():
        if isinstance(provider, OpenStackProviderConfig):
            found[provider.name] = openstack(provider)
        elif isinstance(provider, MetastaticProviderConfig):
            found[provider.name] = metastatic(provider)
    return found


def main():
    from nodepool.cmd.config_validator import ConfigValidator

    logging.disable(logging.CRITICAL)
    answers = {}
    for path in sys.argv[1:]:
        try:
            valid = ConfigValidator(path).validate({"NODEPOOL_PORT": "8005"}) == 0
        except Exception:
            valid = False
        try:
            loaded, trouble = providers(path), None
        except Exception as error:
            loaded, trouble = None, f"{type(error).__name__}: {error}"
        answers[path] = {"valid": valid, "providers": loaded, "trouble": trouble}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
