"""Static nodes: machines that exist already and are listed in the configuration.

What the configuration wants (:mod:`.desired`) and what ZooKeeper holds
(:mod:`.observed`) are values; what to do about the difference is a pure
function of both (:mod:`.plan`), one slot at a time.  :mod:`.reconciler` decides
when to plan, :mod:`.steps` carries it out, :mod:`.hosts` looks at the machines,
:mod:`.handout` looks once more before a node is handed out, and
:mod:`.service` ties them together.
"""
