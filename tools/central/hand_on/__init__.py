"""Handing on: who else is told of an alert, from a durable queue, until it was taken."""

from tools.central.hand_on.courier import Courier
from tools.central.hand_on.item import HandOnError, Item, Target, as_line

__all__ = ["Courier", "HandOnError", "Item", "Target", "as_line"]
