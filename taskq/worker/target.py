"""Names of Python things, "module:name", and how a process finds what they name."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from taskq.errors import TaskqError
from taskq.worker.function import describe

# A script is run again in each pool process under this name, so that its
# `if __name__ == "__main__":` part stays out of it.
SCRIPT_NAME = "__taskq_main__"


class WorkerError(TaskqError):
    """The worker cannot start: the function cannot be loaded, or an option is wrong."""


class Target(NamedTuple):
    """A thing by name. `script` is the path of the file where the module was `__main__`."""

    module: str
    name: str
    script: str = ""

    def __str__(self) -> str:
        return f"{self.script or self.module}:{self.name}"


def parse_target(text: str) -> Target:
    """The target that "module:name" stands for. Raises WorkerError for any other form."""
    module, colon, name = text.partition(":")
    if not (colon and module and name) or ":" in name:
        raise WorkerError(
            f"{text!r} does not name a function or an app; write module:function, for example "
            "tasks:resize."
        )
    return Target(module, name)


def target_of(function: Callable[..., Any]) -> Target:
    """How a pool process finds `function` again. Raises WorkerError where it cannot."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name or "<" in name:
        raise WorkerError(
            f"{name or function!r} cannot be found by name in another process; define it at the "
            'top of a module, or run it with executor="thread".'
        )
    return _in_module(module, name)


def target_of_object(thing: object) -> Target:
    """How a pool process finds an object that some module holds under a name of its own. Raises
    WorkerError where none does."""
    for module in list(sys.modules.values()):
        members = getattr(module, "__dict__", None) or {}
        for name, value in list(members.items()):
            if value is thing:
                return _in_module(members.get("__name__", ""), name)
    raise WorkerError(
        f"No module holds {thing!r}, so another process cannot find it; assign it to a name at "
        'the top of a module, or run it with executor="thread".'
    )


def _in_module(module: str, name: str) -> Target:
    if module != "__main__":
        return Target(module, name)
    script = getattr(sys.modules["__main__"], "__file__", None)
    if not script:
        raise WorkerError(
            f"{name} was defined at a prompt, where another process cannot find it; put it into "
            'a file, or run it with executor="thread".'
        )
    return Target(module, name, os.path.abspath(script))


def load(target: Target) -> Any:
    """What `target` names. Raises WorkerError saying what is missing."""
    try:
        if target.script:
            found: Any = runpy.run_path(target.script, run_name=SCRIPT_NAME)
        else:
            found = vars(importlib.import_module(target.module))
    except ModuleNotFoundError as error:
        raise WorkerError(
            f"Cannot load {target}: there is no module {error.name!r} (looked in the working "
            f"folder {os.getcwd()} and on sys.path)."
        ) from error
    except Exception as error:
        raise WorkerError(
            f"Cannot load {target}: {_where(target)} failed with\n{describe(error)}"
        ) from error
    first, *rest = target.name.split(".")
    if first not in found:
        raise WorkerError(f"Cannot load {target}: {_where(target)} has no {first!r}.")
    thing = found[first]
    for part in rest:
        if not hasattr(thing, part):
            raise WorkerError(f"Cannot load {target}: {first} has no {part!r}.")
        thing = getattr(thing, part)
    return thing


def _where(target: Target) -> str:
    return target.script or f"module {target.module!r}"
