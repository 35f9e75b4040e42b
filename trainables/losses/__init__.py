"""The objectives: pure functions of tensors, and the table of methods that combines them."""
