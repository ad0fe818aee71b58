"""Order the frames of a video by the numbers in their names.

`frame_2.png` comes before `frame_10.png`, though no alphabet says so. Where names leave open what
their order is, nothing is guessed: a model that sees a video in another order judges another video.
"""

import os
import re
from collections.abc import Mapping, Sequence

from r1reward_jax.reading import shortened
from r1reward_jax.types import InputError

_NUMBER = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+\.[0-9]+")
REMEDY = "number the frames, such as 0001.png"


def in_order(names: Sequence[str]) -> list[str]:
    """Return file names in the order of the numbers in them.

    Only the part of the names that all have in common counts, up to where the words between the
    numbers differ: `0001_8a7f.jpg` and `0002_c3.jpg` are 1 and 2. Of several numbers, the first
    weighs most. Single letters are numbers, too.

    Raises:
      InputError: no number, two numbers that order the names in different ways, or names with the
        same numbers.
    """
    if len(names) < 2:
        return list(names)
    digits = _common_numbers(names)
    numbers = _letters(names) or {k: tuple(map(int, each)) for k, each in digits.items()}
    ordered = sorted(names, key=lambda name: (numbers[name], name))
    for one, other in zip(ordered, ordered[1:]):
        if numbers[one] == numbers[other]:
            raise _unclear("the order of", one, other, "is not clear from their names")
    if not _padded(list(digits.values())):
        for further in _other_readings(names, numbers):
            for one, other in zip(ordered, ordered[1:]):
                if further[one] > further[other]:
                    raise _unclear("the numbers in", one, other, "order them in different ways")
    return ordered


def _unclear(what: str, one: str, other: str, problem: str) -> InputError:
    return InputError(f"{what} {shortened(one)} and {shortened(other)} {problem}; {REMEDY}")


def _common_numbers(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the numbers of each name, up to where the words between them differ."""
    stems = [os.path.splitext(name)[0] for name in names]
    words, found = [_NUMBER.split(s) for s in stems], [_NUMBER.findall(s) for s in stems]
    common = min(len(each) for each in found)
    for place, column in enumerate(zip(*words)):
        if len(set(column)) > 1:
            common = min(common, place)
            break
    return {name: each[:common] for name, each in zip(names, found, strict=True)}


def _letters(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the letters of names that differ in a single letter; nothing for all others."""
    stems = [os.path.splitext(name)[0] for name in names]
    start = len(os.path.commonprefix(stems))
    rests = [stem[start:] for stem in stems]
    single = all(len(rest) == 1 and rest.isascii() and rest.isalpha() for rest in rests)
    if not single or not ("".join(rests).islower() or "".join(rests).isupper()):
        return {}
    return {name: (ord(rest),) for name, rest in zip(names, rests, strict=True)}


def _padded(numbers: Sequence[Sequence[str]]) -> bool:
    """Return whether numbers were filled up with zeros so that their alphabetical order holds."""
    widths = [{len(number) for number in column} for column in zip(*numbers)]
    zeros = any(len(n) > 1 and n.startswith("0") for each in numbers for n in each)
    return zeros and all(len(width) == 1 for width in widths)


def _other_readings(
    names: Sequence[str], numbers: Mapping[str, tuple[int, ...]]
) -> list[dict[str, float]]:
    """Return what else could be meant to order the names: each number that tells all of them
    apart, or one decimal number such as seconds."""
    columns = [
        {name: float(numbers[name][place]) for name in names}
        for place in range(len(numbers[names[0]]))
    ]
    readings = [column for column in columns if len(set(column.values())) == len(names)]
    decimals = {name: _DECIMAL.findall(os.path.splitext(name)[0]) for name in names}
    if all(len(each) == 1 for each in decimals.values()):
        readings.append({name: float(each[0]) for name, each in decimals.items()})
    return readings
