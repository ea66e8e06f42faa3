"""How sure a share is that was found on so many pictures."""

SURE = 1.96
"""Standard deviations of a normal distribution within which 95 % lie."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of so many (Wilson 1927); of none it is all of 0…1."""
    if not count:
        return 0.0, 1.0
    scale = 1 + SURE**2 / count
    middle = (share + SURE**2 / (2 * count)) / scale
    half = SURE * (share * (1 - share) / count + SURE**2 / (4 * count**2)) ** 0.5 / scale
    return max(0.0, middle - half), min(1.0, middle + half)
