"""The parts of rules that exist were compiled without a suffix."""

from pylivepatch.hooks import transform


@transform("werkzeug.routing.rules:RulePart.suffixed")
def suffixed(part):
    return False
