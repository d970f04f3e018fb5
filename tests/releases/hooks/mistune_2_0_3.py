"""Each parser keeps the scanners that it made of its expressions: forget them, so that the next use makes new ones."""

import gc

from mistune.scanner import ScannerParser

from pylivepatch.hooks import safe

safe("PLP266", "mistune.inline_parser:InlineParser.ASTERISK_EMPHASIS", "the scanners made of it are forgotten")


def post_patch(context):
    for parser in [one for one in gc.get_objects() if issubclass(type(one), ScannerParser)]:
        parser._cached_sc.clear()


def post_unpatch(context):
    post_patch(context)
