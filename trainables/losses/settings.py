"""What the settings of the losses may be; apart from the losses, so that a config is checked without torch."""

COARSE_NORMS = ("l1", "l2")
GATES = ("adaptive", "constant", "cosine", "linear")
PARTS = ("full", "coarse", "fine")
REDUCTIONS = ("sum", "mean")


def check_group_size(group_size: int, num_elements: int) -> None:
    """Raises ValueError, naming the divisors, unless group_size > 1 divides the H*W elements of a channel."""
    if group_size < 2 or num_elements % group_size:
        divisors = [k for k in range(2, num_elements + 1) if num_elements % k == 0]
        raise ValueError(
            f"group_size must divide the {num_elements} elements of a channel but got {group_size}; allowed: "
            + ", ".join(map(str, divisors))
        )
