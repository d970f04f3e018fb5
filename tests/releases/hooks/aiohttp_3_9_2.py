"""A connector that exists has None for "verify", which is True now. No request outlives the switch."""

import gc

from aiohttp.connector import TCPConnector

from pylivepatch.hooks import safe

safe("PLP255", "aiohttp.client_reqrep:ClientRequest._ssl", "a request lives in a coroutine that is patched")
safe("PLP255", "aiohttp.connector:TCPConnector._ssl", "connectors that exist get the new value")


def post_patch(context, was=None, now=True):
    for connector in [one for one in gc.get_objects() if issubclass(type(one), TCPConnector)]:
        connector._ssl = now if connector._ssl is was else connector._ssl


def post_unpatch(context):
    post_patch(context, True, None)
