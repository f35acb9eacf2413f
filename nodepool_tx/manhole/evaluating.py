"""Python as it is typed: whole or not yet, run, and awaited."""

from __future__ import annotations

import ast
import codeop
import inspect
from collections.abc import Awaitable
from typing import Any, cast

__all__ = ["Interpreter", "is_complete"]

_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_FILE = "<console>"
#: Awaitables that lead to one another before somebody is taken to be playing.
_LINKS = 100


def _compiler() -> codeop.CommandCompiler:
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= _AWAIT
    return compiler


def is_complete(source: str) -> bool:
    """It can be run as it is, or is wrong for good: no further line would help."""
    try:
        return _compiler()(source, _FILE, "single") is not None
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return True


class Interpreter:
    """Runs what is typed in a namespace.

    :ivar names: the namespace; the last result is in it as ``_``.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names

    async def run(self, source: str) -> Any:
        """Run statements; the value of the last, if it is an expression, is returned.

        What can be awaited is awaited.  Whatever the code raises is raised
        here; what would end the launcher is turned into a :exc:`RuntimeError`.
        """
        value = await self._run(source, only_expression=False)
        if value is not None:
            self.names["_"] = value
        return value

    async def evaluate(self, source: str) -> Any:
        """The value of one expression.

        :raises SyntaxError: it is none.
        """
        return await self._run(source, only_expression=True)

    async def _run(self, source: str, only_expression: bool) -> Any:
        tree = compile(source, _FILE, "exec", ast.PyCF_ONLY_AST | _AWAIT, dont_inherit=True)
        assert isinstance(tree, ast.Module)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        if only_expression and (tree.body or last is None):
            raise SyntaxError("one expression is wanted here")
        if tree.body:
            await self._execute(tree, "exec")
        if last is None:
            return None
        value = await self._execute(ast.Expression(cast(ast.Expr, last).value), "eval")
        for _ in range(_LINKS):
            if not isinstance(value, Awaitable):
                break
            value = await value
        return value

    async def _execute(self, tree: ast.Module | ast.Expression, mode: str) -> Any:
        code = compile(tree, _FILE, mode, _AWAIT, dont_inherit=True)
        try:
            value = eval(code, self.names)
            if code.co_flags & inspect.CO_COROUTINE:
                value = await value
        except (SystemExit, KeyboardInterrupt) as e:
            raise RuntimeError(f"{type(e).__name__} is not for here; Ctrl-D leaves") from None
        return value
