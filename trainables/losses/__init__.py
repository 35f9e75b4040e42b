"""The objectives: pure functions of tensors, and the table of methods that combines them."""

from trainables.losses.lift_place import lift_place_loss

__all__ = ["lift_place_loss"]
