"""What Nodepool 11 makes of configuration files; run by its own Python.

Reads a list of pairs from standard input: a configuration and a secure file,
which may be null.  Prints for each what the validator says, what the loader
makes of the whole file, and of the providers of the drivers that have much to
be said about them, as JSON.
"""

import json
import logging
import math
import sys

ENVIRONMENT = {"NODEPOOL_PORT": "8005"}

PROVIDER = "boot_timeout launch_timeout launch_retries max_concurrency priority"
POOL = "max_servers node_attributes priority host_key_checking"
CLOUD = "image_upload_timeout image_name_format post_upload_hook port_cleanup_interval region_name"
CLOUD_POOL = "max_cores max_ram max_volumes max_volume_gb networks security_groups"
CLOUD_POOL += " auto_floating_ip ignore_provider_quota"
LABEL = "min_ram flavor_name key_name console_log boot_from_volume volume_size networks"
LABEL += " instance_properties dynamic_instance_properties userdata host_key_checking"
IMAGE = "name username python_path shell_type connection_type connection_port config_drive"
META = "backing_label max_parallel_jobs grace_time min_retention_time max_age host_key_checking"

#: Of every configuration, every disk image, every provider and every pool.
TOP = "elements_dir images_dir build_log_dir build_log_retention max_hold_age zookeeper_timeout"
DISKIMAGE = "dib_cmd delete_after_upload pause python_path shell_type rebuild_age release"
DISKIMAGE += " username build_timeout env_vars"
EVERY_PROVIDER = "max_concurrency priority"
EVERY_POOL = "max_servers priority node_attributes"
NODE = "name labels host-key host-key-checking timeout connection-port connection-type"
NODE += " shell-type username max-parallel-jobs python-path"


def finite(value):
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    return None if value == math.inf else value


def fields(thing, names):
    return {name: finite(getattr(thing, name)) for name in names.split()}


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


def providers(config):
    from nodepool.driver.metastatic.config import MetastaticProviderConfig
    from nodepool.driver.openstack.config import OpenStackProviderConfig

    found = {}
    for provider in config.providers.values():
        if isinstance(provider, OpenStackProviderConfig):
            found[provider.name] = openstack(provider)
        elif isinstance(provider, MetastaticProviderConfig):
            found[provider.name] = metastatic(provider)
    return found


def diskimage(found):
    return {
        **fields(found, DISKIMAGE),
        "elements": found.elements,
        "formats": sorted(found.image_types),
        "keep_formats": sorted(found.keep_image_types),
        "meta": found.meta,
    }


def pool(found):
    nodes = getattr(found, "nodes", [])
    return {
        **fields(found, EVERY_POOL),
        "labels": sorted(found.labels),
        "nodes": sorted(([node[key] for key in NODE.split()] for node in nodes), key=repr),
    }


def whole(config):
    return {
        **fields(config, TOP),
        "zookeeper": sorted(filter(None, (config.zookeeper_servers or "").split(","))),
        "tls": [config.zookeeper_tls_cert, config.zookeeper_tls_key, config.zookeeper_tls_ca],
        "webapp": config.webapp,
        "tenants": finite(config.tenant_resource_limits),
        "diskimages": {name: diskimage(each) for name, each in config.diskimages.items()},
        "labels": {
            name: fields(label, "min_ready max_ready_age") for name, label in config.labels.items()
        },
        "providers": {
            name: {
                "driver": provider.driver.name,
                **fields(provider, EVERY_PROVIDER),
                "pools": {name: pool(each) for name, each in provider.pools.items()},
            }
            for name, provider in config.providers.items()
        },
    }


def loaded(path, secure):
    from nodepool.config import loadConfig, loadSecureConfig

    config = loadConfig(path, ENVIRONMENT)
    if secure:
        loadSecureConfig(config, secure, ENVIRONMENT)
    return config


def main():
    from nodepool.cmd.config_validator import ConfigValidator

    logging.disable(logging.CRITICAL)
    answers = []
    for path, secure in json.load(sys.stdin):
        try:
            valid = ConfigValidator(path).validate(ENVIRONMENT) == 0
        except Exception:
            valid = False
        answer = {"valid": valid, "providers": None, "whole": None, "trouble": None}
        try:
            config = loaded(path, secure)
            answer |= {"providers": providers(config), "whole": whole(config)}
        except Exception as error:
            answer["trouble"] = f"{type(error).__name__}: {error}"
        answers.append(answer)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
