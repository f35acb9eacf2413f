"""Why a request waits, over all pools of all launchers."""

from nodepool_tx.explain.answers import Answers
from nodepool_tx.explain.asking import ask
from nodepool_tx.explain.here import explain_here
from nodepool_tx.explain.values import Explanation

__all__ = ["Answers", "Explanation", "ask", "explain_here"]
