"""Shadow variables: a patch's own data, attached to objects that have no room for it (``kernel/livepatch/shadow.c``).

A patched function often needs a field that the objects in memory do not have: a lock, a counter, a flag. A shadow
variable is that field. It is found by the object's identity and by ``id``, any hashable that names the variable; begin
it with the patch's name (``("fix-1", "lock")``), as all patches share one space.

**Lifetime.** An object that can be weakly referenced is never kept alive: its variables go when it goes. One that
cannot (ints, strings, tuples, instances with ``__slots__`` and no ``__weakref__``) *is kept alive by its variables*
until they are freed, since its identity could be given to another object otherwise. Identity is all that counts: the
object's own ``__eq__`` and ``__hash__`` are never called, and a copy has no variables. As in any mapping with weak
keys, a value that refers to its object keeps it alive.

**Why nothing here can deadlock on itself.** A finalizer, a weak reference's callback or a signal handler may run
between any two steps, on the thread that holds the lock. So :func:`get`, :func:`free`, :func:`free_all` and the removal
of a dying object's variables take no lock: each is one atomic operation on a dict that has only integers as keys, so
that no Python code runs inside it. The lock is there for one promise, a constructor runs at most once for a variable;
only :func:`alloc` and :func:`get_or_alloc` take it, and it is reentrant. Constructors run under it, one at a time in
the whole process, as under ``klp_shadow_lock``: keep them short, and let them not wait for another thread nor switch
greenlets. A constructor may use other shadow variables; one that asks for the variable that it makes gets
:class:`ShadowBusy`, and so does a finalizer that interrupts it and asks for the same.

**Fork.** A child has the variables of its parent. A constructor that ran on another thread is not there, and its
variable can be made anew.
"""

from __future__ import annotations

import os
import threading
import weakref
from builtins import id as _address
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from pylivepatch.errors import ShadowBusy, ShadowExists

T = TypeVar("T")
Constructor = Callable[[], T]
Destructor = Callable[[Any, Any], object]

_MISSING: Any = object()


class _Weak(weakref.ref[Any]):
    """The variable of an object that can be weakly referenced. It leaves its home when the object goes."""

    __slots__ = ("address", "home", "value")

    def __new__(cls, obj: Any, home: dict[int, _Weak | _Strong], value: Any) -> _Weak:
        return super().__new__(cls, obj, _gone)

    def __init__(self, obj: Any, home: dict[int, _Weak | _Strong], value: Any) -> None:
        self.home, self.address, self.value = home, _address(obj), value


class _Strong:
    """The variable of an object that cannot be: it keeps the object. Called, it gives the object, as `_Weak` does."""

    __slots__ = ("obj", "value")

    def __init__(self, obj: Any, value: Any) -> None:
        self.obj, self.value = obj, value

    def __call__(self) -> Any:
        return self.obj


def _gone(variable: weakref.ref[Any]) -> None:
    """The object goes. Its address is not given away before this returns, so the entry can only be its own."""
    assert isinstance(variable, _Weak)
    if variable.home.get(variable.address) is variable:
        variable.home.pop(variable.address, None)  # free_all() on another thread may have been faster


# id → address of the object → variable. The inner dicts are never taken out: one might just be filled.
_variables: dict[Hashable, dict[int, _Weak | _Strong]] = {}
_making: dict[tuple[int, Hashable], int] = {}  # what a constructor is making now → on which thread
_lock = threading.RLock()


def get(obj: Any, id: Hashable, default: Any = None) -> Any:
    """The value of the object's shadow variable ``id``, or ``default``.

    Never waits, and is safe anywhere, also in finalizers. In ``__del__`` of an object that the garbage collector found
    in a cycle, the variables are gone already.
    """
    variable = _find(obj, id)
    return default if variable is None else variable.value


def alloc(obj: Any, id: Hashable, value: Any = _MISSING, *, constructor: Constructor[Any] | None = None) -> Any:
    """Give the object a shadow variable: ``value``, or what ``constructor()`` returns. Returns the value.

    Where the constructor raises, the error goes to the caller and nothing is attached.

    Raises :class:`ShadowExists` where the object has this variable; then the constructor is not called.
    """
    if (value is _MISSING) is (constructor is None):
        raise TypeError("alloc() takes either a value or a constructor")
    result, made = _obtain(obj, id, constructor or (lambda: value))
    if not made:
        raise ShadowExists(
            f"the object has a shadow variable {id!r} already",
            where=f"an instance of {type(obj).__module__}:{type(obj).__qualname__}",
            advice="use get_or_alloc(), or free() it first; begin ids with the patch's name to keep patches apart",
        )
    return result


def get_or_alloc(obj: Any, id: Hashable, constructor: Constructor[T]) -> T:
    """The value of the shadow variable; where there is none it is made by ``constructor()``.

    However many threads ask at once, one constructor runs and all get its value. Where it raises, the error goes to the
    caller whose constructor it was, nothing is attached, and the next one to ask tries again.
    """
    variable = _find(obj, id)
    value: T = variable.value if variable is not None else _obtain(obj, id, constructor)[0]
    return value


def free(obj: Any, id: Hashable, destructor: Destructor | None = None) -> bool:
    """Take the shadow variable away, then call ``destructor(obj, value)``. Returns whether there was one.

    Unlike the kernel's it calls the destructor without a lock; but for each variable once, however many threads
    free it. Never waits.
    """
    variable = _variables.get(id, {}).pop(_address(obj), None)
    if variable is None or variable() is not obj:
        return False
    if destructor is not None:
        destructor(obj, variable.value)
    return True


def free_all(id: Hashable, destructor: Destructor | None = None) -> int:
    """Take the shadow variable ``id`` away from every object that has it. Returns how many.

    ``destructor(obj, value)`` is called for each, newest first. A destructor that fails does not spare the others; the
    errors are raised at the end as an :class:`ExceptionGroup`. Call it when no patched code runs any more, in
    ``post_unpatch``: a variable that is attached meanwhile may be missed. A patch that does not call it leaves its
    variables behind, as in the kernel. Never waits.
    """
    home = _variables.get(id, {})
    freed = 0
    errors: list[Exception] = []
    for _ in range(len(home)):
        try:
            variable = home.popitem()[1]  # one C call, so no other thread gets the same one
        except KeyError:  # others freed some, or objects went
            break
        obj = variable()
        if obj is None and isinstance(variable, _Weak):  # the object goes at this moment, and its variable with it
            continue
        freed += 1
        if destructor is not None:
            try:
                destructor(obj, variable.value)
            except Exception as error:
                errors.append(error)
    if errors:
        raise ExceptionGroup(f"destructors of the shadow variable {id!r} failed; all {freed} are freed", errors)
    return freed


def _find(obj: Any, id: Hashable) -> _Weak | _Strong | None:
    """The variable, if it belongs to this object and not to a former one at the same address.

    A former one's can be left only where its own ``__del__`` attached it while it was collected as part of a cycle: the
    interpreter, from 3.14 on, then clears the weak reference without calling back.
    """
    home = _variables.get(id)
    variable = None if home is None else home.get(_address(obj))
    return variable if variable is not None and variable() is obj else None


def _obtain(obj: Any, id: Hashable, constructor: Constructor[Any]) -> tuple[Any, bool]:
    """The value, and whether this call made it."""
    key = (_address(obj), id)
    with _lock:
        variable = _find(obj, id)
        if variable is not None:
            return variable.value, False
        if key in _making:
            raise ShadowBusy(
                f"the shadow variable {id!r} is being made by this thread at this moment",
                where=f"an instance of {type(obj).__module__}:{type(obj).__qualname__}",
                advice="a constructor must not ask for the variable that it makes, nor switch greenlets; "
                "in a finalizer or signal handler use get()",
            )
        _making[key] = threading.get_ident()
        try:
            # Nobody can attach the same variable until the mark is gone: other threads wait for the lock, and this
            # one (a finalizer, the constructor itself) meets the mark.
            value = constructor()
            home = _variables.setdefault(id, {})
            try:
                variable = _Weak(obj, home, value)
            except TypeError:  # it cannot be weakly referenced
                variable = _Strong(obj, value)
            home[key[0]] = variable
            return value, True
        finally:
            _making.pop(key, None)


def _after_fork() -> None:
    """In the child: whoever held the lock is not here, unless it is the thread that forked."""
    global _lock
    _lock = threading.RLock()
    me = threading.get_ident()
    for key in [key for key, thread in _making.items() if thread != me]:
        del _making[key]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
