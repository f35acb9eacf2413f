"""Whether everything in ZooKeeper and in the clouds fits together, and how to repair it.

:mod:`~nodepool_tx.check.gathering` freezes what there is into a
:class:`~nodepool_tx.check.farm.Farm`; the finders, pure functions, make
:class:`~nodepool_tx.check.findings.Finding` values of it;
:mod:`~nodepool_tx.check.looking` believes those that several looks in a row
have shown; :mod:`~nodepool_tx.check.repairing` carries out what they propose.
"""
