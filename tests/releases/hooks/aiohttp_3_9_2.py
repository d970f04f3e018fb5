"""A connector that exists has None for "verify", which is True now: give it the context, which both versions take."""

import gc

from aiohttp.connector import TCPConnector

from pylivepatch.hooks import safe

safe("PLP255", "aiohttp.client_reqrep:ClientRequest._ssl", "a request lives in a coroutine that is patched")
safe("PLP255", "aiohttp.connector:TCPConnector._ssl", "connectors that exist get the context that None stood for")


def pre_patch(context):
    for connector in [one for one in gc.get_objects() if issubclass(type(one), TCPConnector)]:
        connector._ssl = connector._make_ssl_context(True) if connector._ssl is None else connector._ssl


def post_patch(context):  # those made meanwhile
    pre_patch(context)
