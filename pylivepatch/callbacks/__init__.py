"""A patch's callbacks: which are run, when, for how long, and what their failure means (``klp_callbacks``).

====== ============ ================================ ======================================================
when                callback                         when it fails (raises, or does not return in time)
====== ============ ================================ ======================================================
load   before       ``pre_patch``                    the load is refused, nothing was touched; returning
                                                     anything but ``None`` refuses too
load   after        ``post_patch``                   logged, an event, taints; the patch stays
unload before       ``pre_unpatch``                  logged, an event, taints; the unload goes on
unload after        ``post_unpatch``                 logged, an event, taints; the patch is out
====== ============ ================================ ======================================================

As in Linux, ``post_unpatch`` is the way back of ``pre_patch``: it is run only where ``pre_patch`` succeeded (or is not
given), and also where the load is reversed afterwards. Where an *unload* is reversed, ``post_patch`` is run again.

When a cumulative patch replaces others, Linux runs the new patch's callbacks only. Here both sides' are run, nested,
with the replaced ones in the order in which they would be unloaded: ``new.pre_patch``, ``old.pre_unpatch`` (newest
first), the switch, ``old.post_unpatch`` (newest first), ``new.post_patch``. :func:`plan` is this order as data, and the
runner runs what it says.

**Time limit.** Each callback runs on a daemon thread of its own, and the runner waits for it until the limit. Python
cannot kill a thread, so a late callback goes on, and is counted as failed. What follows for the patch then *queues up
behind it*: a patch's callbacks never overlap and never change places. Where the late one is ``pre_patch``, the load is
refused, and if it succeeds after all its ``post_unpatch`` is run right behind it, so that its work does not stay.
Until the queue is empty the same patch is not loaded again. Two things follow from the thread for authors: a callback
that loads or unloads patches is refused (a transition is under way), and one that imports a module which an applied
patch waits for, waits for the transition that waits for it, until the limit.
"""

from __future__ import annotations

from pylivepatch.callbacks.call import Outcome
from pylivepatch.callbacks.order import Action, Callbacks, Context, Name, Plan, plan
from pylivepatch.callbacks.runner import DEFAULT_LIMIT, CallbackRunner

__all__ = ["DEFAULT_LIMIT", "Action", "CallbackRunner", "Callbacks", "Context", "Name", "Outcome", "Plan", "plan"]
