"""Retries that exist, Retry.DEFAULT first of all, were made with the old default: give them the new one, and back."""

import gc

from urllib3.util.retry import Retry

from pylivepatch.hooks import safe

OLD, NEW = frozenset({"authorization"}), frozenset({"cookie", "authorization"})
safe("PLP261", "urllib3.util.retry:Retry.DEFAULT_REMOVE_HEADERS_ON_REDIRECT", "retries that exist follow")


def post_patch(context, was=OLD, now=NEW):
    for retry in [one for one in gc.get_objects() if issubclass(type(one), Retry)]:
        if retry.remove_headers_on_redirect == was:
            retry.remove_headers_on_redirect = now


def post_unpatch(context):
    post_patch(context, NEW, OLD)
