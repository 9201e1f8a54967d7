"""Bytes that differ from those of a sound file."""


def mutated(content, rng):
    """Return other bytes: a flipped bit, a cut, or a block of zeros (of ones, if it is zero)."""
    kind, place = rng.choice(['flip', 'cut', 'block']), rng.randrange(len(content))
    if kind == 'flip':
        return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
    if kind == 'cut':
        return content[:place]
    block = content[place : place + 64]
    return content[:place] + (bytes(len(block)) if any(block) else b'\xff' * len(block)) + content[place + len(block) :]
