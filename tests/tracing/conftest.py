"""A module to trace."""

from __future__ import annotations

import time
from typing import Any

import pytest

SOURCE = """
import asyncio
def leaf(): pass
def pause(): sleep(0.002)
def bad(): raise ValueError
def outer(n=1):
    leaf()
    inner(n)
def inner(n):
    leaf()
    if n: outer(n - 1)
    pause()
    try: bad()
    except ValueError: pass
def numbers():
    yield 1
    leaf()
    yield 2
def use(): return [leaf() or n for n in numbers()]
async def awaited(): await asyncio.sleep(0); leaf()
async def task(): leaf(); await awaited(); await awaited()
async def tasks(): await asyncio.gather(*[asyncio.create_task(task(), name=f"t{i}") for i in range(3)])
class Thing:
    def method(self): return leaf()
    @staticmethod
    def static(): pass
    @property
    def value(self): return 1
"""


@pytest.fixture
def traced(sources: Any) -> Any:
    module = sources.load(SOURCE)
    module.sleep = time.sleep
    return module
