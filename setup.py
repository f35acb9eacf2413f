"""Packaging of nodepool_tx; tool settings live in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    name="nodepool-tx",
    version="0.1.0",
    description="Nodepool on Twisted: hands out test machines to CI",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["nodepool_tx", "nodepool_tx.*"]), "twisted.plugins"],
    package_data={"nodepool_tx": ["py.typed", "web/dashboard/*"]},
    install_requires=[
        "Twisted[tls,conch]>=24.10",
        "Automat>=24.8",
        "PyYAML>=6",
        "attrs>=23.2",
        "kazoo>=2.11",
        "treq>=24.9",
        "keystoneauth1>=5.8",
        "openstacksdk>=4.0",
        "klein>=24.8",
        "prometheus_client>=0.21",
        "ldap3>=2.9.1",
    ],
    extras_require={
        "test": [
            "matplotlib>=3.8",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "schemathesis>=4",
            "selenium>=4.25",
            "hypothesis>=6.100",
            "jsonschema-rs",
            "axe-playwright-python>=0.1.8",
            "mypy>=1.11",
            "mypy-zope",
            "ruff>=0.6",
            "types-PyYAML",
        ],
        "bench": ["matplotlib>=3.8"],
    },
    entry_points={"console_scripts": ["nodepool = nodepool_tx.cli.main:main"]},
)
